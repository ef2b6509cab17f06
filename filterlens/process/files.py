"""Files that appear whole or not at all.

What is written lies beside its place, under a name that no other process has, until its bytes are on the disk. Then it
is renamed, and the folder is brought to the disk too: whatever is killed, unplugged or full, a reader finds the old
file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from filterlens.errors import WriteError
from filterlens.process.interruption import forget_temporary, remove_on_interruption

__all__ = [
    "atomic_write",
    "cannot_write",
    "commit_file",
    "explain_failure",
    "fsync_folder",
    "is_file",
    "is_folder",
    "remove_stale_temporaries",
    "temporary_path",
    "write_atomically",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def is_file(path: Path) -> bool:
    """Whether a path names a file; no file system has a name that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether a path names a folder; no file system has a name that is too long."""
    try:
        return path.is_dir()
    except OSError:
        return False


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file, whole or not at all; text is UTF-8, its line ends as they are.

    Parameters
    ----------
    path
        Its folder is made where it is not there.
    content
        All of it.

    Raises
    ------
    WriteError
        The disk is full or the folder cannot be written; what was there before is there still.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write; it takes `path`'s place when the `with` block ends without an exception.

    Raises
    ------
    WriteError
        The block met a full disk or a folder that cannot be written; nothing is left.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "table.csv"
    >>> with atomic_write(path) as temporary:
    ...     _ = temporary.write_text("a,b")
    ...     path.exists()
    False
    >>> path.read_text()
    'a,b'
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        commit_file(temporary, path)
    except OSError as error:
        raise WriteError(explain_failure(path, error)) from error
    finally:
        with contextlib.suppress(OSError):  # such as a parent that is no folder
            temporary.unlink(missing_ok=True)
        forget_temporary(temporary)


def temporary_path(path: Path) -> Path:
    """Return the name of a temporary file in the same folder, removed when a signal ends the process.

    `remove_stale_temporaries` finds the file of a process that was killed.
    """
    return remove_on_interruption(path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp"))


def commit_file(temporary: Path, path: Path) -> None:
    """Let a finished file appear: its bytes are on the disk before its name is.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    forget_temporary(temporary)
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale_temporaries(folder: Path) -> None:
    """Remove what processes that were killed left in a folder; only where no process writes."""
    for stale in folder.glob(".*.tmp"):
        stale.unlink(missing_ok=True)


def cannot_write(error: BaseException) -> bool:
    """Whether an error says that the disk is full or a folder is not to be written."""
    return getattr(error, "errno", None) in _FULL | _CLOSED


def explain_failure(path: Path, error: Exception) -> str:
    """Say why a file could not be written and what to do."""
    number, text = getattr(error, "errno", None), str(error)
    if number in _FULL or "No space left" in text:
        return f"the disk is full: {path} was not written; free some space and run the same command again"
    if number in _CLOSED or "Permission denied" in text or "Read-only" in text:
        return f"{path.parent} cannot be written: choose another folder with --out"
    return f"{path} could not be written ({text}); nothing was left behind, run the same command again"
