"""The data set as models and their convolutions."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.errors import CheckpointError
from filterlens.filterdb.frames import read_frame

__all__ = ["KERNEL", "FilterDatabase", "Layer", "Model"]

KERNEL: Final = (3, 3)
_ARRAYS: Final = ("filters", "filter")
_LEVELS: Final = ("model_id", "conv_depth", "conv_depth_norm")
_COLUMNS: Final = ("in_channels", "out_channels", "filter_ids", "model")


@dataclass(frozen=True, slots=True)
class Layer:
    """One 3x3 convolution: where it lies in its model, and where its filters are in the file.

    Parameters
    ----------
    layer_id
        The file's own number of the convolution, else its place among the model's rows.
    conv_depth, conv_depth_norm
        Rank among the depths that hold a convolution of any kernel, and the same in [0, 1].
    in_channels, out_channels
        Of the weight: c_in / groups and c_out.
    start, stop
        Rows of the array of filters, `stop` not among them.
    """

    layer_id: int
    conv_depth: int
    conv_depth_norm: float
    in_channels: int
    out_channels: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the data set.

    Parameters
    ----------
    number
        The file's `model_id`.
    name
        The stem of the file that it was read from; with the number where two models share it.
    layers
        By depth, then by `layer_id`.
    facts
        What the table says of the model (`Robust`, `Clean Accuracy`, `Network`, …); missing values are left out.
    """

    number: int
    name: str
    layers: tuple[Layer, ...]
    facts: dict[str, Any]


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
        with path_errors(path):
            self._file = h5py.File(path, "r")
        try:
            with path_errors(path):
                self._filters = self._array()
                self.models = models or _models(_meta(self._file, path), len(self._filters), path)
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

    def weight(self, layer: Layer) -> NDArray[np.float32]:
        """Return a convolution's weight, float32, shape (c_out, c_in / groups, 3, 3).

        Raises
        ------
        CheckpointError
            It cannot be read.
        """
        with path_errors(self.path), np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and not scored
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
        return found


class path_errors:  # noqa: N801 - a context manager that reads as a function
    """Turn what h5py raises on a damaged file into an error of ours."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and not self.path.is_file():
            raise CheckpointError(f"there is no file {self.path}") from error
        if isinstance(error, PermissionError):
            raise CheckpointError(f"{self.path} cannot be read: permission denied") from error
        if isinstance(error, OSError) and self.path.suffix in {".xz", ".gz", ".zip"}:
            raise CheckpointError(f"{self.path} is compressed: unpack it first") from error
        if isinstance(error, OSError | KeyError | RuntimeError | ValueError | TypeError | MemoryError | OverflowError):
            raise CheckpointError(f"{self.path} is no HDF5 file, or damaged ({error})") from error


def _meta(file: h5py.File, path: Path) -> pd.DataFrame:
    group = file["meta"] if isinstance(file.get("meta", getlink=True), h5py.HardLink) else None
    if not isinstance(group, h5py.Group):
        raise CheckpointError(f"{path} has no table /meta, which says whose the filters are: it is no whole data set")
    meta = read_frame(group, f"{path}:/meta")
    missing = [n for n in _LEVELS if n not in meta.index.names] + [n for n in _COLUMNS if n not in meta.columns]
    if missing:
        raise CheckpointError(f"{path}: table /meta has no {missing[0]!r}; it is no CNN-Filter-DB data set")
    if meta.empty:
        raise CheckpointError(f"{path}: table /meta lists no convolution")
    return meta


def _models(meta: pd.DataFrame, n_filters: int, path: Path) -> tuple[Model, ...]:
    rows = meta.reset_index()
    if "layer_id" not in rows:
        rows["layer_id"] = rows.groupby("model_id").cumcount()
    records: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")]
    layers = [_layer(row, place, n_filters, path) for place, row in enumerate(records)]
    _check_disjoint(layers, path)
    own: dict[int, list[int]] = {}
    for place, row in enumerate(records):
        own.setdefault(_whole(row["model_id"], "model_id", place, path), []).append(place)
    names = {number: _name(number, [records[place] for place in places], path) for number, places in own.items()}
    shared = Counter(names.values())
    return tuple(
        Model(
            number=number,
            name=names[number] if shared[names[number]] == 1 else f"{names[number]}-{number}",
            layers=_ordered(number, [layers[place] for place in places], path),
            facts={
                key: _plain(value)
                for key, value in records[places[0]].items()
                if key not in {*_LEVELS, "layer_id"} and not _is_missing(value)
            },
        )
        for number, places in sorted(own.items())
    )


def _name(number: int, rows: list[dict[str, Any]], path: Path) -> str:
    names = {str(row["model"]) for row in rows}
    if len(names) != 1 or "" in names:
        raise CheckpointError(f"{path}: the rows of model {number} do not agree on its name")
    return names.pop()


def _ordered(number: int, layers: list[Layer], path: Path) -> tuple[Layer, ...]:
    if len({layer.layer_id for layer in layers}) != len(layers):
        raise CheckpointError(f"{path}: model {number} has two convolutions of the same layer_id")
    return tuple(sorted(layers, key=lambda layer: (layer.conv_depth, layer.layer_id)))


def _layer(row: dict[Any, Any], place: int, n_filters: int, path: Path) -> Layer:
    start, stop = _ids(row["filter_ids"], place, path)
    inputs, outputs = (_whole(row[name], name, place, path) for name in ("in_channels", "out_channels"))
    if inputs * outputs != stop - start:
        raise CheckpointError(
            f"{path}: row {place} of /meta ({row['model']}) has {inputs} x {outputs} channels, "
            f"but {stop - start} filters"
        )
    if stop > n_filters:
        raise CheckpointError(
            f"{path}: row {place} of /meta ({row['model']}) ends at filter {stop - 1}, but the file holds {n_filters}"
        )
    norm = float(row["conv_depth_norm"])
    return Layer(
        layer_id=_whole(row["layer_id"], "layer_id", place, path),
        conv_depth=_whole(row["conv_depth"], "conv_depth", place, path),
        conv_depth_norm=norm if 0 <= norm <= 1 else math.nan,  # a single depth is divided by zero
        in_channels=inputs,
        out_channels=outputs,
        start=start,
        stop=stop,
    )


def _ids(ids: object, place: int, path: Path) -> tuple[int, int]:
    """First filter of a row and the one behind its last: text is `first:last`, its end included."""
    bounds: tuple[int, int] | None = None
    if isinstance(ids, str) and ids.count(":") == 1:
        first, last = ids.split(":")
        if first.strip().isdecimal() and last.strip().isdecimal():
            bounds = (int(first), int(last) + 1)
    elif isinstance(ids, range) and ids.step == 1:
        bounds = (ids.start, ids.stop)
    elif isinstance(ids, list | tuple) and all(type(i) is int for i in ids):
        found = range(ids[0], ids[-1] + 1) if ids else range(0)
        bounds = (found.start, found.stop) if list(ids) == list(found) else None
    if bounds is None or not 0 <= bounds[0] < bounds[1]:
        raise CheckpointError(
            f"{path}: row {place} of /meta has the filter_ids {ids!r:.60}; they are first:last, the last included"
        )
    return bounds


def _check_disjoint(layers: list[Layer], path: Path) -> None:
    ordered = sorted(range(len(layers)), key=lambda place: layers[place].start)
    for place, following in pairwise(ordered):
        if layers[following].start < layers[place].stop:
            raise CheckpointError(
                f"{path}: rows {place} and {following} of /meta claim the same filters "
                f"(from {layers[following].start}): the file was put together from several chunks without moving "
                "their ids; write it again with a --split_after larger than the number of models"
            )


def _whole(value: object, name: str, place: int, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer | float) or float(value) != int(value):
        raise CheckpointError(f"{path}: row {place} of /meta has the {name} {value!r:.40}, which is no whole number")
    if not 0 <= int(value) < 1 << 40:
        raise CheckpointError(f"{path}: row {place} of /meta has the {name} {value!r:.40}, which is out of range")
    return int(value)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
