"""Limits on reading untrusted files: regular files only, and memory in proportion to their bytes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from filterlens.errors import InputError

__all__ = ["EXPANSION", "FREE_BYTES", "MAX_BYTES", "check_cost", "is_there", "open_regular", "read_regular"]

#: Memory that any data may take, however small their file is.
FREE_BYTES: Final = 1 << 30
#: Bytes in memory for each byte on disk, beyond `FREE_BYTES`: photographs need 10 to 50.
EXPANSION: Final = 256
#: The most that data may take, however large their file is.
MAX_BYTES: Final = 32 << 30


def is_there(path: Path) -> bool:
    """Whether a path names anything; no file system has a name that is too long or holds a NUL."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe, socket or device is neither waited for nor read.

    Raises
    ------
    OSError
        It is not there, may not be read, or is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        return open(descriptor, "rb")  # noqa: PTH123 - a descriptor has no Path
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most: int = FREE_BYTES) -> bytes:
    """Read a regular file whole.

    Parameters
    ----------
    path
        The file, or a link to one.
    most
        Bytes that it may have.

    Raises
    ------
    OSError
        It cannot be opened as `open_regular` does it, is larger, or changed while it was read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(f"{path} has {size} bytes, of which at most {most} are read")
        content = file.read(size)
    if len(content) != size:
        raise OSError(f"{path} became shorter while it was read")
    return content


def check_cost(where: str, needed: int, stored: int) -> None:
    """Refuse data that need far more memory than their file has bytes, before any is allocated.

    Parameters
    ----------
    where
        The file or folder, for messages.
    needed
        Bytes that the data would take.
    stored
        Bytes of the files that hold them.

    Raises
    ------
    InputError
        More than `FREE_BYTES` and more than `EXPANSION` times `stored`, or more than `MAX_BYTES`.
    """
    allowed = min(MAX_BYTES, max(FREE_BYTES, EXPANSION * stored))
    if needed > allowed:
        raise InputError(
            f"{where} declares images that take {needed / 2**30:.1f} GB of memory, from {stored} bytes on disk, for "
            f"which at most {allowed / 2**30:.1f} GB are taken: use fewer (--images) or smaller images"
        )
