"""A run's folder: its lock, its frozen catalog, and small files that appear whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filterlens.catalogs import Catalog, Entry, read_catalog
from filterlens.errors import AuditLockedError, CatalogError, WriteError
from filterlens.files import explain_failure, sweep, write_whole
from filterlens.interruption import on_interruption

__all__ = ["freeze_catalog", "lock_folder", "read_json", "stamp", "write_catalog", "write_json"]


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
    from filelock import FileLock, Timeout

    holder = folder / ".holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        who = holder.read_text(encoding="utf-8") if holder.is_file() else "another process"
        raise AuditLockedError(
            f"{folder} is in use by {who}: wait for it, or choose another folder with --out"
        ) from None
    except OSError as error:
        raise WriteError(explain_failure(folder / ".lock", error)) from error
    try:
        with on_interruption(lambda _: _clear(folder)):
            try:
                _clear(folder)
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
                yield
            finally:
                _clear(folder)
    except OSError as error:
        raise WriteError(explain_failure(Path(error.filename or folder), error)) from error
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    """Remove temporary files, and the name of who holds the lock."""
    with suppress(OSError):  # a folder that has become read-only
        for place in (folder, *(folder / name for name in ("dumps", "tables", "figures"))):
            if not place.is_symlink():
                sweep(place)
        (folder / ".holder").unlink(missing_ok=True)


def freeze_catalog(catalog: Catalog, folder: Path) -> None:
    """Write the rows that are run into the folder's `catalog.csv`, beside those of earlier runs.

    Raises
    ------
    CatalogError
        An earlier run had another source under the same id.
    """
    path = folder / "catalog.csv"
    earlier = list(read_catalog(path)) if path.is_file() else []
    now = {entry.model_id: entry for entry in catalog}
    for entry in earlier:
        if entry.model_id in now and now[entry.model_id].source != entry.source:
            raise CatalogError(
                f"{folder} holds a run in which {entry.model_id!r} is {entry.source}, not "
                f"{now[entry.model_id].source}: choose another folder with --out"
            )
    merged = [now.pop(entry.model_id, entry) for entry in earlier] + list(now.values())
    if merged != earlier:
        write_catalog(merged, path)


def write_catalog(entries: Sequence[Entry], path: Path) -> None:
    """Write entries as a catalog's CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(Entry.model_fields)
    for entry in entries:
        writer.writerow([_cell(getattr(entry, name)) for name in Entry.model_fields])
    write_whole(path, text.getvalue())


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
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: dict[str, str]) -> None:
    """Write a JSON object, whole or not at all."""
    write_whole(path, json.dumps(content, indent=1))
