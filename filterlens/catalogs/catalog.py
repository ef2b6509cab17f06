"""Catalogs: which models there are, and which belong together.

A catalog is a CSV file, one model a row. A robust model names its matched normal model (same architecture and
data, trained without robust regularisation) in `match`.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Self

from filterlens.catalogs.entry import Entry
from filterlens.errors import CatalogError
from filterlens.process.files import is_file

__all__ = ["Catalog", "Pair", "catalog_names", "load_catalog"]

_MAX_ROWS = 100_000
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Pair:
    """A robust model and its matched normal model."""

    robust: Entry
    normal: Entry


@dataclass(frozen=True, slots=True)
class Catalog:
    """Models in order, with the folder that relative sources are looked up from.

    `chosen_from` are all models of the catalog that these were selected from; empty: these are all.
    """

    name: str
    entries: tuple[Entry, ...]
    folder: Path
    chosen_from: tuple[Entry, ...] = ()
    _by_id: dict[str, Entry] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, model_id: str) -> Entry:
        if not self._by_id:
            self._by_id.update((entry.model_id, entry) for entry in reversed(self.entries))
        if model_id not in self._by_id:
            raise CatalogError(f"catalog {self.name} has no model {model_id!r}")
        return self._by_id[model_id]

    def pairs(self) -> tuple[Pair, ...]:
        """Every robust model whose matched normal model is in the catalog."""
        known = {entry.model_id: entry for entry in self.entries}
        return tuple(Pair(e, known[e.match]) for e in self.entries if e.robust and e.match in known)

    def twins(self) -> tuple[Entry, ...]:
        """Models that are not robust whose match, of the same architecture and trained otherwise, is in the catalog."""
        known = {entry.model_id for entry in self.entries}
        return tuple(e for e in self.entries if not e.robust and e.match in known)

    def unmatched(self) -> tuple[Entry, ...]:
        """Robust models without a matched normal model in the catalog."""
        known = {entry.model_id for entry in self.entries}
        return tuple(e for e in self.entries if e.robust and e.match not in known)

    def select(self, patterns: Sequence[str]) -> Self:
        """Keep the models whose id matches one of the shell patterns, and the normal partners of those.

        Raises
        ------
        CatalogError
            A pattern matches nothing.
        """
        chosen: set[str] = set()
        for pattern in patterns:
            found = {e.model_id for e in self.entries if fnmatchcase(e.model_id, pattern)}
            if not found:
                raise CatalogError(f"--models {pattern!r} matches no model of catalog {self.name}")
            chosen |= found
        chosen |= {e.match for e in self.entries if e.model_id in chosen and e.match}
        kept = tuple(e for e in self.entries if e.model_id in chosen)
        return type(self)(self.name, kept, self.folder, self.chosen_from or self.entries)


def shipped_folder() -> Path:
    """Where the shipped catalogs and the bundled zoos lie: in the wheel, or in the checkout."""
    package = Path(str(resources.files("filterlens")))
    installed = package / "_catalogs"
    return installed if installed.is_dir() else package.parent / "catalogs"


def catalog_names() -> list[str]:
    """Names of the shipped catalogs."""
    return sorted(path.stem for path in shipped_folder().glob("*.csv"))


def load_catalog(name_or_path: str | Path) -> Catalog:
    """Read a shipped catalog by name, or any catalog by path.

    Parameters
    ----------
    name_or_path
        Such as `cifar10-linf`, or the path of a CSV file with at least `model_id` and `source`.

    Raises
    ------
    CatalogError
        It is not there, or a row is wrong: the message names file, line and column.
    """
    text = str(name_or_path)
    shipped = shipped_folder() / f"{text}.csv"
    if text in catalog_names():
        return read_catalog(shipped)
    path = Path(name_or_path)
    if "\0" in text or not is_file(path):
        raise CatalogError(
            f"there is no catalog {text!r}: give the path of a CSV file or one of {', '.join(catalog_names())}"
        )
    return read_catalog(path)


def read_catalog(path: Path) -> Catalog:
    """Read and check a catalog's CSV file; see `load_catalog`."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CatalogError(f"{path} is larger than {_MAX_BYTES >> 20} MB: that is no catalog")
        text = path.read_bytes().decode("utf-8-sig")  # names keep their line ends, or none would find its dump
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror})") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CatalogError(f"{path}, line {line}: it holds a NUL character: save it as UTF-8 text")
    rows = _rows(path, text)
    entries: list[Entry] = []
    line_of: dict[str, int] = {}
    stems: dict[str, str] = {}
    for line, row in rows:
        entry = _entry(path, line, row)
        if entry.model_id in line_of:
            raise CatalogError(
                f"{path}, line {line}, column model_id: {entry.model_id!r} is already on line {line_of[entry.model_id]}"
            )
        # file systems tell neither case nor the composition of letters apart
        stem = unicodedata.normalize("NFC", unicodedata.normalize("NFC", entry.file_stem).casefold())
        clash = stems.setdefault(stem, entry.model_id)
        if clash != entry.model_id:
            raise CatalogError(
                f"{path}, line {line}, column model_id: {entry.model_id!r} and {clash!r} would share a file name"
            )
        line_of[entry.model_id] = line
        entries.append(entry)
    if not entries:
        raise CatalogError(f"{path} lists no models")
    by_id = {entry.model_id: entry for entry in entries}
    for entry in entries:
        if entry.match and entry.match not in line_of:
            raise CatalogError(
                f"{path}, line {line_of[entry.model_id]}, column match: "
                f"no row has the model_id {entry.match!r}; add it or leave match empty"
            )
        if entry.match and by_id[entry.match].robust:
            raise CatalogError(
                f"{path}, line {line_of[entry.model_id]}, column match: {entry.match!r} (line {line_of[entry.match]}) "
                "is robust itself; name the normal model or leave match empty"
            )
    return Catalog(path.stem, tuple(entries), path.resolve().parent)


def _rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        _check_header(path, header)
        for row in reader:
            if reader.line_num > _MAX_ROWS + 1:
                raise CatalogError(f"{path} has more than {_MAX_ROWS} rows: split it")
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise CatalogError(
                    f"{path}, line {reader.line_num}: {len(row)} cells where the header has {len(header)} columns"
                )
            yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise CatalogError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error


def _check_header(path: Path, header: list[str]) -> None:
    known = list(Entry.model_fields)
    for column in ("model_id", "source"):
        if column not in header:
            raise CatalogError(f"{path}, line 1: column {column!r} is missing; a catalog has {', '.join(known)}")
    unknown = [column for column in header if column not in known]
    if unknown:
        raise CatalogError(f"{path}, line 1: unknown column {unknown[0]!r}; a catalog has {', '.join(known)}")
    if len(set(header)) != len(header):
        raise CatalogError(f"{path}, line 1: a column is named twice")


def _entry(path: Path, line: int, row: dict[str, str]) -> Entry:
    try:
        return Entry.model_validate(row)
    except CatalogError as error:
        raise CatalogError(f"{path}, line {line}, {error}") from error
