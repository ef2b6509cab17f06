"""The folder in which a command keeps its temporary files, and which goes away with it."""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from filterlens.process.interruption import remove_on_interruption

__all__ = ["use_temporary_folder"]

_PREFIX = "filterlens."  # short: multiprocessing has its sockets in it


@cache
def use_temporary_folder() -> None:
    """Have this process and its workers make their temporary files in a folder that goes when the process ends.

    Once a process, however many commands it runs. It is locked: whoever can lock such a folder knows that its process
    has died, and removes it.
    """
    with suppress(OSError):  # no room: it is said by what needs it
        _remove_stale()
        folder = remove_on_interruption(Path(tempfile.gettempdir()) / f"{_PREFIX}{secrets.token_hex(4)}")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        _lock(folder)  # until the process ends
        if folder.is_dir():  # not removed by another process before it was locked
            tempfile.tempdir = str(folder)


def _remove_stale() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody else's, or in use
            if folder.lstat().st_uid == os.getuid():
                lock = _lock(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
