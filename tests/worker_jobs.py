"""Jobs for the executors' tests: worker processes import them by name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

Progress = Callable[[str, int, int], None]


def square(job: int, progress: Progress) -> int:
    progress("squaring", 1, 1)
    return job * job


def die_on_three(job: int, progress: Progress) -> int:
    if job == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def die_once(job: str, progress: Progress) -> str:
    if not Path(job).exists():
        Path(job).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"
