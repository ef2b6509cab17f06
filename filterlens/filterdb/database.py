"""The data set as models and their convolutions."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final, Self

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.dumps.hdf5_check import check_hdf5
from filterlens.errors import CheckpointError, FilterlensError
from filterlens.filterdb.frames import check_written, read_frame
from filterlens.filterdb.models import DatabaseLayer, Model, read_models
from filterlens.process.files import is_file

__all__ = ["KERNEL", "DatabaseLayer", "FilterDatabase", "Model"]

KERNEL: Final = (3, 3)
_ARRAYS: Final = ("filters", "filter")
_PACKED: Final = {".xz", ".gz", ".zip"}


class FilterDatabase:
    """Read a data set of filters; use as a context manager.

    The table is read and checked whole, the filters a convolution at a time.

    Parameters
    ----------
    path
        `dataset.h5`.
    models
        What an earlier reading of this very file found, to spare reading its table again.

    Raises
    ------
    UnsafeCheckpointError
        Its pickled columns hold more than cells; nothing of it was run.
    CheckpointError
        It is no such file, or its rows contradict each other: a model's filters are missing, overlap another's, or are
        not as many as its channels say.
    """

    def __init__(self, path: Path, models: tuple[Model, ...] | None = None) -> None:
        self.path = path
        _check_file(path)
        with path_errors(path):
            self._file = h5py.File(path, "r")
        try:
            with path_errors(path):
                self._filters = self._array()
                self.models = models or read_models(_meta(self._file, path), self.n_filters, f"{path}:/meta")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def n_filters(self) -> int:
        """Filters in the file."""
        return len(self._filters)

    @property
    def dtype(self) -> str:
        """In which the file keeps them."""
        return str(self._filters.dtype)

    def weight(self, layer: DatabaseLayer) -> NDArray[np.float32]:
        """Return a convolution's weight, float32, shape (c_out, c_in / groups, 3, 3).

        Raises
        ------
        CheckpointError
            It cannot be read.
        """
        with path_errors(self.path), np.errstate(over="ignore", invalid="ignore"):  # what is no float32 is not scored
            rows = np.asarray(self._filters[layer.start : layer.stop], dtype=np.float32)
        return rows.reshape(layer.out_channels, layer.in_channels, *KERNEL)

    def _array(self) -> h5py.Dataset:
        name = next((name for name in _ARRAYS if isinstance(self._file.get(name, getlink=True), h5py.HardLink)), "")
        found = self._file[name] if name else None
        if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
            raise CheckpointError(f"{self.path} has no array /filters: it is no CNN-Filter-DB data set")
        if found.dtype.kind != "f" or found.dtype.itemsize not in {2, 4, 8} or found.shape[1:] not in {(3, 3), (9,)}:
            raise CheckpointError(
                f"{self.path}: {found.name} is of {found.dtype} and shape {found.shape}; filters are floating-point "
                "numbers, one 3x3 filter a row"
            )
        check_written(found, str(self.path))
        return found


def _check_file(path: Path) -> None:
    """Refuse what is no HDF5 file, and what libhdf5 would hang or crash on, before this process opens it."""
    if not is_file(path):
        raise CheckpointError(f"there is no file {path}")
    if path.suffix in _PACKED and not h5py.is_hdf5(path):
        raise CheckpointError(f"{path} is compressed: unpack it first")
    check_hdf5(path, cells=True, error=CheckpointError, advice="it is damaged, or no CNN-Filter-DB data set")


class path_errors:  # noqa: N801 - a context manager that reads as a function
    """Turn what h5py raises on a damaged file into a CheckpointError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, FilterlensError):
            raise CheckpointError(f"{self.path} is no HDF5 file, or damaged ({error})") from error


def _meta(file: h5py.File, path: Path) -> pd.DataFrame:
    group = file["meta"] if isinstance(file.get("meta", getlink=True), h5py.HardLink) else None
    if not isinstance(group, h5py.Group):
        raise CheckpointError(f"{path} has no table /meta, which says whose the filters are: it is no whole data set")
    return read_frame(group, f"{path}:/meta")
