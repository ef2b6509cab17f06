"""Cells of a table that pandas has pickled, read without running anything.

pandas stores columns of Python objects as the pickle of an array of objects. Unpickling may call whatever a file
names, so here only the names that such an array needs are answered, and by stand-ins of ours at that: no object of
numpy is ever handed to the file.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["pickle_cells", "unpickle_cells"]

_MODULES: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
_PLAIN: Final = (str, bytes, bool, int, float, type(None), list, tuple)


class _Array:
    """What an array of objects leaves in its pickle."""

    shape: tuple[int, ...] = ()
    cells: list[object]  # in C order, whatever order the array was in

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, _, _, self.cells = state


class _Type:
    """What stands for a numpy type; nothing is made of it."""

    def __setstate__(self, state: object) -> None:
        pass


class _Range:
    """A range of filter ids."""

    def __init__(self, *bounds: int) -> None:
        self.bounds = bounds


def _array(*_: object) -> _Array:
    return _Array()


def _type(*_: object) -> _Type:
    return _Type()


def _nothing(*_: object) -> None:
    return None


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text is stored as {encoding!r:.40}")
    return text.encode("latin1")


_ANSWERS: Final[dict[str, Any]] = {
    **{f"{module}._reconstruct": _array for module in _MODULES},
    "numpy.ndarray": _nothing,  # the kind that `_reconstruct` is to make
    "numpy.dtype": _type,
    "builtins.range": _Range,
    "_codecs.encode": _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:  # noqa: ANN401 - pickle's own signature
        answer = _ANSWERS.get(f"{module}.{name}")
        if answer is None:
            raise UnsafeCheckpointError(f"it names {module}.{name}, which no table of cells needs")
        return answer

    def persistent_load(self, pid: object) -> Any:  # noqa: ANN401 - pickle's own signature
        raise pickle.UnpicklingError("it refers to something outside")


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
        Shape `shape`: text, numbers, booleans, None, lists, tuples and ranges only.

    Raises
    ------
    UnsafeCheckpointError
        It names anything else than such cells need; nothing of it was run.
    CheckpointError
        It is damaged, or holds other cells.
    """
    try:
        found = _Unpickler(io.BytesIO(data)).load()
        shaped = isinstance(found, _Array) and math.prod(found.shape) == len(found.cells)
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(
            f"{where} holds a pickle that is more than a table: {error}; it was not run, and the file is not read"
        ) from None
    except Exception as error:
        raise CheckpointError(f"{where} is damaged: its pickled columns cannot be read ({error})") from error
    if not shaped or tuple(found.shape) != shape:
        raise CheckpointError(f"{where} is damaged: its pickled columns are no table of {shape[0]} x {shape[1]} cells")
    cells = [range(*cell.bounds) if isinstance(cell, _Range) else cell for cell in found.cells]
    strange = next((cell for cell in cells if not isinstance(cell, (*_PLAIN, range))), None)
    if strange is not None:
        raise CheckpointError(f"{where}: a cell is {type(strange).__name__}, which no table of models holds")
    table = np.empty(len(cells), dtype=object)
    for place, cell in enumerate(cells):  # one by one: numpy would unfold lists
        table[place] = cell
    return table.reshape(shape)


def pickle_cells(cells: NDArray[np.object_]) -> bytes:
    """Pickle cells so that pandas with any numpy reads them: numpy 2 would name a module that numpy 1 lacks."""
    data = pickle.dumps(np.ascontiguousarray(cells), protocol=3)
    return data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)
