"""Catalogs: which models there are, and which belong together.

A catalog is a CSV file, one model a row. A robust model names its matched normal model (same architecture and
data, trained without robust regularisation) in `match`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from importlib import resources
from itertools import compress
from pathlib import Path
from typing import Self

from filterlens.catalogs.entry import Entry
from filterlens.catalogs.reading import read_rows
from filterlens.catalogs.rows import Rows
from filterlens.errors import CatalogError
from filterlens.process.files import is_file

__all__ = ["Catalog", "Pair", "catalog_names", "load_catalog"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A robust model and its matched normal model."""

    robust: Entry
    normal: Entry


@dataclass(frozen=True, slots=True)
class Catalog:
    """Models in order, with the folder that relative sources are looked up from.

    `chosen_from` are all models of the catalog that these were selected from; empty: these are all. Entries of a file
    are made when they are asked for, each time anew: its catalog takes little more memory than the file.
    """

    name: str
    entries: Sequence[Entry]
    folder: Path
    chosen_from: Sequence[Entry] = ()
    _by_id: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, model_id: str) -> Entry:
        found = self.get(model_id)
        if found is None:
            raise CatalogError(f"catalog {self.name} has no model {model_id!r}")
        return found

    def get(self, model_id: str) -> Entry | None:
        """Return a model; None where it is not in the catalog."""
        place = self._find(model_id)
        return None if place is None else self.entries[place]

    def model_ids(self) -> Iterator[str]:
        """Yield the ids in order; of a file much quicker than the entries."""
        if isinstance(self.entries, Rows):
            return self.entries.model_ids()
        return (entry.model_id for entry in self.entries)

    def pairs(self) -> tuple[Pair, ...]:
        """Every robust model whose matched normal model is in the catalog."""
        matches = ((entry, self.get(entry.match)) for entry in self._filled("match") if entry.robust)
        return tuple(Pair(entry, normal) for entry, normal in matches if normal is not None)

    def twins(self) -> tuple[Entry, ...]:
        """Models that are not robust whose match, of the same architecture and trained otherwise, is in the catalog."""
        return tuple(e for e in self._filled("match") if not e.robust and self._find(e.match) is not None)

    def unmatched(self) -> tuple[Entry, ...]:
        """Robust models without a matched normal model in the catalog."""
        return tuple(e for e in self._filled("robust") if e.robust and self._find(e.match) is None)

    def select(self, patterns: Sequence[str]) -> Self:
        """Keep the models whose id matches one of the shell patterns, and the normal partners of those.

        Raises
        ------
        CatalogError
            A pattern matches nothing.
        """
        chosen = bytearray(len(self))
        for pattern in patterns:
            fits = re.compile(translate(pattern)).match
            found = bytes(fits(model_id) is not None for model_id in self.model_ids())
            if 1 not in found:
                raise CatalogError(f"--models {pattern!r} matches no model of catalog {self.name}")
            chosen = bytearray(map(max, chosen, found))
        for entry in type(self)(self.name, self._take(chosen), self.folder)._filled("match"):
            partner = self._find(entry.match)
            if partner is not None:
                chosen[partner] = 1
        return type(self)(self.name, self._take(chosen), self.folder, self.chosen_from or self.entries)

    def _take(self, chosen: bytearray) -> Sequence[Entry]:
        places = array("Q", compress(range(len(self)), chosen))
        return (
            self.entries.take(places)
            if isinstance(self.entries, Rows)
            else tuple(map(self.entries.__getitem__, places))
        )

    def _find(self, model_id: str) -> int | None:
        """Return the place of a model; None where it is not there."""
        if isinstance(self.entries, Rows):
            return self.entries.find(model_id)
        if not self._by_id:
            places = range(len(self.entries))
            self._by_id.update((self.entries[place].model_id, place) for place in reversed(places))
        return self._by_id.get(model_id)

    def _filled(self, column: str) -> Iterator[Entry]:
        """Yield the entries that have a value in a column, and perhaps others."""
        if isinstance(self.entries, Rows):
            return map(self.entries.__getitem__, self.entries.filled(column))
        return iter(self.entries)


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
    return Catalog(path.stem, read_rows(path), path.resolve().parent)
