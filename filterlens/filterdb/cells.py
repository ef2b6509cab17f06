"""Cells of a table that pandas has pickled, read without running anything.

pandas stores columns of Python objects as the pickle of an array of objects. `filterlens.pickles` reads it; what it
names for such an array is answered by stand-ins of ours, and no object of NumPy is ever made by the file. A cell is
text, a number, a boolean or None; whatever else a file holds is neither printed nor compared.
"""

from __future__ import annotations

import math
import pickle
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import CheckpointError, UnsafeCheckpointError
from filterlens.pickles import Budget, PickleError, read_pickle

__all__ = ["Cell", "format_cell", "pickle_cells", "unpickle_cells"]

Cell = str | int | float | bool | None

_PLAIN: Final = {str, int, float, bool, type(None)}
_MODULES: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
_CALLS: Final = 1000  # objects that an array of cells needs beside those of its rows


class _Kind:
    """Stands for `numpy.ndarray`, and for the type of objects."""


class _Array:
    """What an array of objects leaves in its pickle."""

    __slots__ = ("cells", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.cells: list[object] = []  # in C order, whatever order the array was in


_NDARRAY: Final = _Kind()
_OBJECTS: Final = _Kind()


def _array(*_: object) -> _Array:
    return _Array()


def _dtype(code: object, *_: object) -> _Kind:
    if code not in ("O8", "O4", "O", "|O"):
        raise PickleError("its array is none of Python objects")
    return _OBJECTS


def _range(*bounds: object) -> str:
    """Write a range of filter ids as the text that other files have."""
    if not (all(type(bound) is int for bound in bounds) and len(bounds) in {2, 3} and bounds[2:] in {(), (1,)}):
        raise PickleError("a range of filter ids has no first and last")
    first, stop = bounds[:2]
    return f"{first}:{stop - 1}"  # type: ignore[operator]


def _set_state(target: object, state: object) -> None:
    """Take the shape and the cells of an array; the state of its type says nothing."""
    if not isinstance(target, _Array):
        return
    if not (isinstance(state, tuple) and len(state) == 5):
        raise PickleError("its array has no shape and cells")
    _, shape, kind, _, cells = state
    if kind is not _OBJECTS or not isinstance(cells, list) or not isinstance(shape, tuple):
        raise PickleError("its array has no shape and cells")
    if len(shape) > 2 or not all(type(size) is int and size >= 0 for size in shape):
        raise PickleError("its array is no table")
    target.shape, target.cells = shape, cells


_CONSTRUCTORS: Final[dict[str, object]] = {
    **{f"{module}._reconstruct": _array for module in _MODULES},
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _dtype,
    "builtins.range": _range,
}


def unpickle_cells(data: bytes, shape: tuple[int, int], where: str) -> NDArray[np.object_]:
    """Read the cells of pickled columns.

    Parameters
    ----------
    data
        The pickle.
    shape
        Rows and columns that there are to be.
    where
        File and array, for messages.

    Returns
    -------
        Shape `shape`: text, numbers, booleans and None only. A range or a list of successive filter ids becomes the
        text `first:last`.

    Raises
    ------
    UnsafeCheckpointError
        It names anything else than such cells need; nothing of it was run.
    CheckpointError
        It is damaged, or holds other cells.
    """
    budget = Budget(opcodes=len(data), containers=8 * shape[0] + _CALLS, costly_keys=0)
    try:
        read = read_pickle(data, constructors=_CONSTRUCTORS, build=_set_state, budget=budget)
    except PickleError as error:
        raise CheckpointError(f"{where} is damaged: its pickled columns cannot be read ({error})") from error
    if read.unknown:
        raise UnsafeCheckpointError(
            f"{where} holds a pickle that is more than a table: it names {read.unknown[0]:.200}, which no table of "
            "cells needs; it was not run, and the file is not read"
        )
    found = read.content
    if not isinstance(found, _Array) or found.shape != shape or math.prod(shape) != len(found.cells):
        raise CheckpointError(f"{where} is damaged: its pickled columns are no table of {shape[0]} x {shape[1]} cells")
    table = np.empty(len(found.cells), dtype=object)
    left = len(data)  # filter ids in lists: a list that many cells share is not read again without end
    for place, cell in enumerate(found.cells):
        if type(cell) in _PLAIN:
            table[place] = cell
            continue
        left -= len(cell) if isinstance(cell, list | tuple) else 0
        ids = _first_and_last(cell) if left >= 0 else None
        if ids is None:
            row, column = divmod(place, shape[1])
            raise CheckpointError(
                f"{where}: row {row}, column {column} holds a {type(cell).__name__}; a cell is text, a number, a "
                "boolean or None"
            )
        table[place] = ids
    return table.reshape(shape)


def _first_and_last(cell: object) -> str | None:
    """Successive filter ids as `first:last`; None where it is anything else."""
    if not isinstance(cell, list | tuple) or not cell or not all(type(i) is int for i in cell):
        return None
    first, last = cell[0], cell[-1]
    return f"{first}:{last}" if last - first == len(cell) - 1 and list(cell) == list(range(first, last + 1)) else None


def pickle_cells(cells: NDArray[np.object_]) -> bytes:
    """Pickle cells so that pandas with any numpy reads them: numpy 2 would name a module that numpy 1 lacks."""
    data = pickle.dumps(np.ascontiguousarray(cells), protocol=3)
    return data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)


def format_cell(cell: object) -> str:
    """Write a cell for a message, however long it is."""
    return repr(cell[:40] + "…" if isinstance(cell, str) and len(cell) > 40 else cell)[:80]
