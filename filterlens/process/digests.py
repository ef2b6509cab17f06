"""SHA-256 of files, each read once a process as long as it does not change."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

__all__ = ["combined_digest", "file_digest", "recorded_digests"]

_BLOCK = 1 << 20
_MAX_BYTES = 1 << 38  # more is no file of data: the system's view of its memory, say


def file_digest(path: Path) -> str:
    """SHA-256 of a regular file, in hexadecimal; the file is streamed.

    Raises
    ------
    OSError
        It cannot be read, is a pipe, a socket or a device, or is beyond all size.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is no regular file")
    if found.st_size > _MAX_BYTES:
        raise OSError(f"{path} is larger than {_MAX_BYTES >> 30} GB")
    # the inode and the time of its last change tell what was put in place of a file of the same size and date
    digest = _digest(path.resolve(), (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))
    if (record := _record.get()) is not None:
        record[path] = (found.st_size, digest)
    return digest


_record: ContextVar[dict[Path, tuple[int, str]] | None] = ContextVar("record", default=None)


@contextmanager
def recorded_digests() -> Iterator[dict[Path, tuple[int, str]]]:
    """Give size in bytes and SHA-256 of every file that `file_digest` is asked for inside the block, by its path."""
    made: dict[Path, tuple[int, str]] = {}
    token = _record.set(made)
    try:
        yield made
    finally:
        _record.reset(token)


@lru_cache(maxsize=1 << 18)
def _digest(path: Path, _state: tuple[int, ...]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def combined_digest(parts: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of names and digests, such as those of a folder's files, in their order."""
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(f"{len(name)}:{name}{content}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
