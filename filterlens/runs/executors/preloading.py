"""Imported by the process that workers are forked from alone: it imports what their jobs need, once for all of them."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from importlib import import_module

from filterlens.runs.executors.local import PRELOAD

gc.disable()  # imports make much and drop little: collections would take a sixth of their time
for _name in ("torch", "filterlens.runs.executors.worker", *filter(None, os.environ.pop(PRELOAD, "").split(","))):
    with suppress(Exception):  # the job that needs it says what is wrong
        import_module(_name)
gc.freeze()  # collections in workers would write into what is shared
gc.enable()
