"""Lock files: size and SHA-256 of each checkpoint, so that a paper can say which bytes it measured.

`lock.csv` in a run's folder, `NAME.lock.csv` beside a catalog; one row a file: `model_id`, `source`, `file` (its place
in the cache, or its name), `size` in bytes, `sha256`.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Final

from filterlens.catalogs import Catalog, shipped_folder
from filterlens.errors import CatalogError, CheckpointError
from filterlens.process.cache import cache_folder
from filterlens.process.files import write_atomically

__all__ = ["RUN_LOCK", "Locked", "check_locked", "lock_path", "place_of", "read_lock", "write_lock"]

RUN_LOCK: Final = "lock.csv"
_MAX_BYTES: Final = 1 << 30
_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, order=True)
class Locked:
    """One file that a model was read from.

    Parameters
    ----------
    model_id, source
        As in the catalog.
    file
        Its place in the cache, or its name where it lies elsewhere.
    size, sha256
        Of its bytes.
    """

    model_id: str
    source: str
    file: str
    size: int
    sha256: str


def place_of(path: Path) -> str:
    """Return a file's place in the cache, with `/`; its name where it lies elsewhere."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - a link of the cache is not followed
    try:
        relative = absolute.relative_to(Path(os.path.abspath(cache_folder())))  # noqa: PTH100
    except ValueError:
        return path.name
    return relative.as_posix()


def lock_path(catalog: Catalog) -> Path:
    """Return where a catalog's lock lies: beside its file; a shipped catalog's in the cache."""
    folder = cache_folder() if catalog.folder.resolve() == shipped_folder().resolve() else catalog.folder
    return folder / f"{catalog.name}.lock.csv"


def write_lock(rows: Iterable[Locked], path: Path) -> None:
    """Write a lock file, sorted, whole or not at all.

    Raises
    ------
    WriteError
        It cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Locked))
    writer.writerows(astuple(row) for row in sorted(rows))
    written = text.getvalue().encode("utf-8", "backslashreplace")
    if not path.is_file() or path.read_bytes() != written:
        write_atomically(path, written)


def read_lock(path: Path) -> dict[str, tuple[Locked, ...]]:
    """Read a lock file.

    Returns
    -------
        Its rows by source; nothing where there is no such file.

    Raises
    ------
    CatalogError
        It is none; the message names file and line.
    """
    if not path.is_file():
        return {}
    rows: dict[str, tuple[Locked, ...]] = {}
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CatalogError(f"{path} is larger than a lock file is")
        with path.open(encoding="utf-8", newline="") as file:
            for number, found in enumerate(csv.DictReader(file), 2):
                row = _row(found, f"{path}, line {number}")
                if not any(row.file == other.file for other in rows.get(row.source, ())):
                    rows[row.source] = (*rows.get(row.source, ()), row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogError(
            f"{path} cannot be read as a lock file ({error}): make it anew with catalogs lock"
        ) from error
    return rows


def _row(found: Mapping[str, object], where: str) -> Locked:
    texts = {field.name: found.get(field.name) for field in fields(Locked)}
    size, digest = texts["size"], texts["sha256"]
    if (
        not all(isinstance(text, str) for text in texts.values())
        or not (isinstance(size, str) and size.isascii() and size.isdecimal() and len(size) < 19)
        or not (isinstance(digest, str) and len(digest) == 64 and set(digest) <= _HEX)
    ):
        columns = ", ".join(field.name for field in fields(Locked))
        raise CatalogError(f"{where}: a lock file's row was expected, with {columns}: make it anew with catalogs lock")
    return Locked(str(texts["model_id"]), str(texts["source"]), str(texts["file"]), int(size), digest)


def check_locked(locked: Iterable[Locked], read: Mapping[Path, tuple[int, str]], where: str) -> None:
    """Refuse files that are others than a lock says.

    Parameters
    ----------
    locked
        Rows of one source.
    read
        Size and SHA-256 of what was read, by path.
    where
        The lock file's name.

    Raises
    ------
    CheckpointError
        A file has changed; the message names it.
    """
    known = {PurePosixPath(row.file).name: row for row in locked}  # a folder may be that of a commit
    for path, (size, digest) in read.items():
        row = known.get(path.name)
        if row is not None and (row.size, row.sha256) != (size, digest):
            raise CheckpointError(
                f"{path} has changed: it has {size} bytes and the SHA-256 {digest}, and {where} has {row.size} bytes "
                f"and {row.sha256}: fetch it again, or remove the row from {where} if the new file is meant"
            )
