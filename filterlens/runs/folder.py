"""A run's folder: its lock, its frozen catalog, and small files that appear whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path

from filelock import FileLock, Timeout

from filterlens.catalogs import Catalog, Entry, read_catalog
from filterlens.errors import AuditLockedError, UnsafeFolderError, WriteError
from filterlens.process.files import atomic_write, explain_failure, remove_stale_temporaries, write_atomically
from filterlens.process.interruption import on_interruption

__all__ = ["check_folder", "freeze_catalog", "lock_folder", "read_json", "stamp", "write_catalog", "write_json"]

_FOLDERS = ("dumps", "parts", "tables", "figures")
_MAX_JSON = 64 << 20
_IN_PLACE = {"ledger.jsonl", ".lock"}


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other audits out of a run's folder; the operating system frees the lock of a process that died.

    Whoever holds it knows that no temporary file in the folder is in use, and removes them first and last.

    Raises
    ------
    AuditLockedError
        Another audit holds it; the message says which.
    WriteError
        The folder cannot be made or written, or the disk is full.
    """
    check_folder(folder)
    holder = folder / ".holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        who = _holder(holder)
        raise AuditLockedError(
            f"{folder} is in use by {who}: wait for it, or choose another folder with --out"
        ) from None
    except OSError as error:
        raise WriteError(explain_failure(folder / ".lock", error)) from error
    try:
        with on_interruption(lambda _: _clear(folder)):
            try:
                _clear(folder)
                write_atomically(holder, f"process {os.getpid()} on {socket.gethostname()}")
                yield
            finally:
                _clear(folder)
    except OSError as error:
        raise WriteError(explain_failure(Path(error.filename or folder), error)) from error
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            who = "".join(letter if letter.isprintable() else "?" for letter in file.read(200))
            return who or "another process"
    except OSError:
        return "another process"


def check_folder(folder: Path) -> None:
    """Refuse a run's folder in which something is a link, a pipe or a device: it would be written or read elsewhere.

    The folder itself may be a link, as its user named it. Hard links are refused for the files that are written in
    place; all others are replaced by renaming.

    Raises
    ------
    UnsafeFolderError
        The message names it.
    """
    for place in (folder, *(folder / name for name in _FOLDERS)):
        try:
            found = list(os.scandir(place)) if place.is_dir() else []
        except OSError as error:
            raise WriteError(f"{place} cannot be read ({error.strerror})") from error
        for item in found:
            _check_item(item, is_root=place == folder)


def _check_item(item: os.DirEntry[str], *, is_root: bool) -> None:
    kind = item.stat(follow_symlinks=False)
    what = ""
    if stat.S_ISLNK(kind.st_mode):
        what = "a link"
    elif not stat.S_ISREG(kind.st_mode) and not stat.S_ISDIR(kind.st_mode):
        what = "a pipe, socket or device"
    elif is_root and item.name in _IN_PLACE and stat.S_ISREG(kind.st_mode) and kind.st_nlink > 1:
        what = "a hard link"
    if what:
        raise UnsafeFolderError(
            f"{item.path} is {what}: a run's folder holds plain files and folders only; replace it by a copy of what "
            "it points to, or remove it"
        )


def _clear(folder: Path) -> None:
    """Remove temporary files, and the name of who holds the lock."""
    with suppress(OSError):  # a folder that has become read-only
        for place in (folder, *(folder / name for name in _FOLDERS)):
            if not place.is_symlink():
                remove_stale_temporaries(place)
        (folder / ".holder").unlink(missing_ok=True)


def freeze_catalog(catalog: Catalog, folder: Path) -> None:
    """Write the rows that are run into the folder's `catalog.csv`, beside those of earlier runs."""
    path = folder / "catalog.csv"
    earlier = read_catalog(path) if path.is_file() else Catalog(catalog.name, (), folder)

    def merged() -> Iterator[Entry]:
        yield from (catalog.get(entry.model_id) or entry for entry in earlier)
        yield from (entry for entry in catalog if earlier.get(entry.model_id) is None)

    if any(now != then for now, then in zip_longest(merged(), earlier)):
        write_catalog(merged(), path)


def write_catalog(entries: Iterable[Entry], path: Path) -> None:
    """Write entries as a catalog's CSV file, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Entry.model_fields)
        for entry in entries:
            writer.writerow([_cell(getattr(entry, name)) for name in Entry.model_fields])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(repr(part) for part in value)
    return str(value)


def stamp(path: Path) -> str:
    """Size and time of a file: whether it has changed."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def read_json(path: Path) -> dict[str, str]:
    """Read a JSON object, or nothing where there is none."""
    try:
        if path.stat().st_size > _MAX_JSON:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def write_json(path: Path, content: dict[str, str]) -> None:
    """Write a JSON object, whole or not at all."""
    write_atomically(path, json.dumps(content, indent=1))
