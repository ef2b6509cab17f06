"""Entries of a catalog's file in little memory: the text of each row, from which its entry is made when asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

from filterlens.catalogs.entry import Entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["HashIndex", "Rows"]

_BETWEEN = "\0"  # which no cell of a catalog holds


class HashIndex:
    """Places of texts by their hash: sixteen bytes a text. Equal hashes are to be compared by their texts.

    Parameters
    ----------
    hashes
        Of the texts, in order; of Python, so that nobody can choose texts of equal hashes.
    """

    def __init__(self, hashes: array[int]) -> None:
        import numpy as np

        unsorted = np.frombuffer(hashes, np.int64)
        self._places: NDArray[np.int64] = np.argsort(unsorted, kind="stable")
        self._sorted = unsorted[self._places]

    def places(self, text: str) -> list[int]:
        """Where there may be this text, the first place first."""
        start, end = (self._sorted.searchsorted(hash(text), side) for side in ("left", "right"))
        return [int(place) for place in self._places[start:end]]

    def repeated(self) -> list[int]:
        """Places whose hash is at an earlier place too, in order."""
        again = self._sorted[1:] == self._sorted[:-1]
        return sorted(int(place) for place in self._places[1:][again])


class Rows(Sequence[Entry]):
    """Entries as the text of their rows.

    Parameters
    ----------
    columns
        Their names, `model_id` first.

    Examples
    --------
    >>> rows = Rows(["model_id", "source"])
    >>> rows.add(["a", "a.pt"])
    >>> rows[0].source, rows.find("a"), rows.find("b")
    ('a.pt', 0, None)
    """

    __slots__ = ("_chosen", "_columns", "_ends", "_index", "_text")

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._text = bytearray()
        self._ends = array("Q", [0])
        self._chosen: Sequence[int] | None = None
        self._index: HashIndex | None = None

    def add(self, cells: Sequence[str]) -> None:
        """Append a row that is known to be a valid entry."""
        self._text += _BETWEEN.join(cells).encode()
        self._ends.append(len(self._text))

    def take(self, places: Sequence[int]) -> Self:
        """Return some of the rows; their text is shared."""
        taken = type(self)(self._columns)
        taken._text, taken._ends = self._text, self._ends
        taken._chosen = places if self._chosen is None else array("Q", map(self._chosen.__getitem__, places))
        return taken

    def model_ids(self) -> Iterator[str]:
        """Yield the ids, without the rest of the entries."""
        for number in self._numbers():
            start = self._ends[number]
            yield self._text[start : self._text.index(0, start)].decode()

    def filled(self, column: str) -> Iterator[int]:
        """Yield the places of rows whose cell is not empty, in order."""
        if column in self._columns:
            cell = self._columns.index(column)
            yield from (place for place, number in enumerate(self._numbers()) if self._cells(number)[cell])

    def find(self, model_id: str) -> int | None:
        """Return the place of a model; None where it is not there."""
        if self._index is None:
            self._index = HashIndex(array("q", map(hash, self.model_ids())))
        return next((place for place in self._index.places(model_id) if self[place].model_id == model_id), None)

    def _numbers(self) -> Sequence[int]:
        return range(len(self._ends) - 1) if self._chosen is None else self._chosen

    def _cells(self, number: int) -> list[str]:
        return self._text[self._ends[number] : self._ends[number + 1]].decode().split(_BETWEEN)

    def _entry(self, number: int) -> Entry:
        return Entry.model_validate(dict(zip(self._columns, self._cells(number), strict=True)))

    def __len__(self) -> int:
        return len(self._numbers())

    def __iter__(self) -> Iterator[Entry]:
        return map(self._entry, self._numbers())

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Entry | Self:
        if isinstance(place, slice):
            return self.take(range(len(self))[place])
        return self._entry(self._numbers()[place])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows | tuple):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{len(self)} entries>"

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """Without the index: another process has other hashes."""
        return None, {name: None if name == "_index" else getattr(self, name) for name in self.__slots__}
