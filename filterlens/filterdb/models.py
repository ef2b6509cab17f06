"""Models and their convolutions, made of the rows of a data set's table and checked against each other."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import pandas as pd

from filterlens.errors import CheckpointError
from filterlens.filterdb.cells import Cell, format_cell
from filterlens.process.printable import printable

__all__ = ["DatabaseLayer", "Model", "name_fault", "read_models"]

_LEVELS: Final = ("model_id", "conv_depth", "conv_depth_norm")
_COLUMNS: Final = ("in_channels", "out_channels", "filter_ids", "model")
_FACTS: Final = ("Robust", "Clean Accuracy", "Robust Accuracy", "Network", "Backbone", "Training-Dataset", "Paper")
_IDS: Final = re.compile(r"\s*([0-9]{1,18})\s*:\s*([0-9]{1,18})\s*")
_MAX_WHOLE: Final = 1 << 40
_MAX_NAME: Final = 250  # characters: a catalog allows 300, a number may follow
_MAX_TEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class DatabaseLayer:
    """One 3x3 convolution: where it lies in its model, and where its filters are in the file.

    Parameters
    ----------
    layer_id
        The file's own number of the convolution, else its place among the model's rows.
    conv_depth, conv_depth_norm
        Rank among the depths that hold a convolution of any kernel, and the same in [0, 1].
    in_channels, out_channels
        Channels of the weight: c_in / groups and c_out.
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
        The stem of the file that it was read from; with the number where two models share it, in whatever case.
    layers
        By depth, then by `layer_id`.
    facts
        What the table says of the model: `Robust`, `Clean Accuracy`, `Robust Accuracy`, `Network`, `Backbone`,
        `Training-Dataset` and `Paper`; missing values are left out.
    """

    number: int
    name: str
    layers: tuple[DatabaseLayer, ...]
    facts: dict[str, Cell]


def name_fault(name: object) -> str:
    """Say why a name cannot be that of a model in a catalog; empty where it can.

    Examples
    --------
    >>> name_fault("Wang2020_cifar10_linf_13"), name_fault("../x")
    ('', 'points out of its folder')
    """
    if not isinstance(name, str) or not name.strip():
        return "is no text"
    if len(name) > _MAX_NAME:
        return f"has {len(name)} characters; at most {_MAX_NAME} are read"
    if printable(name) != name:
        return "holds characters that cannot be shown"
    return "points out of its folder" if {".", ".."} & set(re.split(r"[/\\]", name)) else ""


def read_models(meta: pd.DataFrame, n_filters: int, where: str) -> tuple[Model, ...]:
    """Turn the table `/meta` into models.

    Parameters
    ----------
    meta
        One row a convolution.
    n_filters
        Rows of the array of filters.
    where
        File and table, for messages.

    Raises
    ------
    CheckpointError
        A column is missing, or a row holds what no model has or contradicts another; the message names the row.
    """
    missing = [n for n in _LEVELS if n not in meta.index.names] + [n for n in _COLUMNS if n not in meta.columns]
    if missing:
        raise CheckpointError(f"{where} has no {missing[0]!r}; it is no CNN-Filter-DB data set")
    if meta.empty:
        raise CheckpointError(f"{where} lists no convolution")
    rows = _Rows(meta, n_filters, where)
    _check_disjoint(rows.layers, where)
    places: dict[int, list[int]] = {}
    for place, number in enumerate(rows.whole("model_id")):
        places.setdefault(number, []).append(place)
    names = {number: rows.name(number, own) for number, own in places.items()}
    shared = Counter(name.casefold() for name in names.values())
    return tuple(
        Model(
            number=number,
            name=names[number] if shared[names[number].casefold()] == 1 else f"{names[number]}-{number}",
            layers=_ordered(number, [rows.layers[place] for place in own], where),
            facts=rows.facts(own[0]),
        )
        for number, own in sorted(places.items())
    )


class _Rows:
    """The table by column: a mapping a row would take a hundred times the memory of the file."""

    def __init__(self, meta: pd.DataFrame, n_filters: int, where: str) -> None:
        self._meta = meta
        self._where = where
        self._columns: dict[str, list[Any]] = {}
        self.layers = self._layers(n_filters)

    def whole(self, name: str) -> list[int]:
        """Return a column of whole numbers."""
        return [self._whole(cell, name, place) for place, cell in enumerate(self._cells(name))]

    def name(self, number: int, places: list[int]) -> str:
        """Return the name that the rows of a model give it."""
        column = self._cells("model")
        name = column[places[0]]
        if fault := name_fault(name):
            raise CheckpointError(f"{self._row(places[0])} names its model {format_cell(name)}, which {fault}")
        strange = next((place for place in places if column[place] != name), None)
        if strange is not None:
            raise CheckpointError(
                f"{self._row(strange)} and row {places[0]} do not agree on the name of model {number}"
            )
        return str(name)

    def facts(self, place: int) -> dict[str, Cell]:
        """Return what a row says of its model."""
        found: dict[str, Cell] = {}
        for name in _FACTS:
            cell = self._cells(name)[place] if name in self._meta.columns else None
            if cell is None or (isinstance(cell, float) and math.isnan(cell)):
                continue
            if isinstance(cell, str) and (len(cell) > _MAX_TEXT or "\0" in cell):
                raise CheckpointError(
                    f"{self._row(place)} has the {name} {format_cell(cell)}, which is no text of a catalog"
                )
            found[name] = cell
        return found

    def _cells(self, name: str) -> list[Any]:
        """Return a level of the index, or a column, as Python's own numbers and text."""
        if name not in self._columns:
            found = self._meta.index.get_level_values(name) if name in self._meta.index.names else self._meta[name]
            self._columns[name] = found.to_numpy().tolist()
        return self._columns[name]

    def _layer_ids(self) -> list[int]:
        if "layer_id" in self._meta.index.names or "layer_id" in self._meta.columns:
            return self.whole("layer_id")
        seen: Counter[int] = Counter()
        found = []
        for number in self.whole("model_id"):
            found.append(seen[number])
            seen[number] += 1
        return found

    def _norms(self) -> list[float]:
        """Return relative depths; a single depth was divided by zero."""
        return [float(cell) if 0 <= cell <= 1 else math.nan for cell in self._cells("conv_depth_norm")]

    def _layers(self, n_filters: int) -> list[DatabaseLayer]:
        ids = [self._ids(cell, place, n_filters) for place, cell in enumerate(self._cells("filter_ids"))]
        names = ("conv_depth", "in_channels", "out_channels")
        columns = zip(self._layer_ids(), self._norms(), *(self.whole(name) for name in names), ids, strict=True)
        layers = []
        for place, (layer_id, norm, depth, inputs, outputs, (start, stop)) in enumerate(columns):
            if inputs * outputs != stop - start:
                raise CheckpointError(
                    f"{self._row(place)} has {inputs} x {outputs} channels, but {stop - start} filters"
                )
            layers.append(DatabaseLayer(layer_id, depth, norm, inputs, outputs, start, stop))
        return layers

    def _ids(self, cell: Cell, place: int, n_filters: int) -> tuple[int, int]:
        """First filter of a row and the one behind its last: text is `first:last`, its end included."""
        found = _IDS.fullmatch(cell[:80]) if isinstance(cell, str) else None
        start, stop = (int(found[1]), int(found[2]) + 1) if found else (0, 0)
        if not start < stop:
            raise CheckpointError(
                f"{self._row(place)} has the filter_ids {format_cell(cell)}; they are first:last, the last included"
            )
        if stop > n_filters:
            raise CheckpointError(f"{self._row(place)} ends at filter {stop - 1}, but the file holds {n_filters}")
        return start, stop

    def _whole(self, cell: Cell, name: str, place: int) -> int:
        exact = type(cell) is int or (isinstance(cell, float) and cell.is_integer())
        if not exact:
            raise CheckpointError(f"{self._row(place)} has the {name} {format_cell(cell)}, which is no whole number")
        if not 0 <= cell < _MAX_WHOLE:  # type: ignore[operator] # it is a number
            raise CheckpointError(f"{self._row(place)} has the {name} {format_cell(cell)}, which is out of range")
        return int(cell)  # type: ignore[arg-type] # as above

    def _row(self, place: int) -> str:
        name = self._cells("model")[place]
        return f"{self._where}: row {place}" + (f" ({printable(name[:60])})" if isinstance(name, str) else "")


def _ordered(number: int, layers: list[DatabaseLayer], where: str) -> tuple[DatabaseLayer, ...]:
    if len({layer.layer_id for layer in layers}) != len(layers):
        raise CheckpointError(f"{where}: model {number} has two convolutions of the same layer_id")
    return tuple(sorted(layers, key=lambda layer: (layer.conv_depth, layer.layer_id)))


def _check_disjoint(layers: list[DatabaseLayer], where: str) -> None:
    ordered = sorted(range(len(layers)), key=lambda place: layers[place].start)
    for place, following in pairwise(ordered):
        if layers[following].start < layers[place].stop:
            raise CheckpointError(
                f"{where}: rows {place} and {following} claim the same filters (from {layers[following].start}): the "
                "file was put together from several chunks without moving their ids; write it again with a "
                "--split_after larger than the number of models"
            )
