"""A run's filters as a data set."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.catalogs import Entry, read_catalog
from filterlens.dumps import DumpGroup, DumpReader
from filterlens.errors import CatalogError, DumpError, WriteError
from filterlens.filterdb.database import KERNEL
from filterlens.filterdb.frames import write_frame
from filterlens.filterdb.models import name_fault
from filterlens.process.files import atomic_write, explain_failure
from filterlens.score import read_scores
from filterlens.version import __version__

__all__ = ["Exported", "export_run"]

_LENS: Final = "filters"
_LEVELS: Final = ["model_id", "conv_depth", "conv_depth_norm", "layer_id"]
_MAX_DEPTH: Final = 1 << 20
_THRESHOLD: Final = 100  # of a layer's maximum: the authors' own, at or below which a filter is sparse
_UNKNOWN: Final = ("Tracer Warning", "Hide", "Pretraining-Dataset", "Visual Category", "Precision", "Task")


@dataclass(slots=True)
class Exported:
    """What a data set was made of."""

    n_filters: int = 0
    n_models: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One row of the tables."""

    name: str
    row: dict[str, Any]
    sparsity: dict[str, Any]
    sparse: NDArray[np.int64]


def export_run(folder: Path, path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Exported:
    """Write the 3x3 filters of a run as a CNN-Filter-DB data set; `docs/filterdb.md` has the layout.

    Parameters
    ----------
    folder
        A run's folder.
    path
        The HDF5 file; appears whole or not at all.
    progress
        Called with steps done and steps in all: each model is read, then written.

    Returns
    -------
        How much was written, and which models were left out for what reason.

    Raises
    ------
    CatalogError
        The folder is no run's folder.
    DumpError
        No model of the run has 3x3 filters.
    WriteError
        The disk is full, or the folder of `path` cannot be written.
    """
    if not (folder / "catalog.csv").is_file():
        raise CatalogError(f"{folder} is not a run's folder: it has no catalog.csv; run `filterlens extract` first")
    entries = list(read_catalog(folder / "catalog.csv"))
    exported = Exported()
    found: list[tuple[Entry, Path, list[_Layer]]] = []
    for done, entry in enumerate(entries):
        progress(done, 2 * len(entries))
        if fault := name_fault(entry.model_id):
            exported.left_out[entry.model_id] = f"its name {fault}"
            continue
        dump = folder / "dumps" / f"{entry.file_stem}.h5"
        try:
            layers = _layers(entry, dump, len(found), exported.n_filters)
        except DumpError as error:
            exported.left_out[entry.model_id] = str(error)
            continue
        if not layers:
            exported.left_out[entry.model_id] = "it has no 3x3 filters"
            continue
        found.append((entry, dump, layers))
        exported.n_filters += sum(layer.sparsity["layer_num_filters"] for layer in layers)
    if not found:
        why = next((f"; {model}: {reason}" for model, reason in exported.left_out.items()), "")
        raise DumpError(f"no model of {folder} has 3x3 filters: extract them with the filters lens first{why}")
    exported.n_models = len(found)
    with atomic_write(path) as temporary:
        try:
            with h5py.File(temporary, "w") as file:
                _write(file, folder, found, exported, lambda done: progress(len(entries) + done, 2 * len(entries)))
        except RuntimeError as error:  # h5py's word for a disk that is full
            raise WriteError(explain_failure(path, error)) from error
    progress(2 * len(entries), 2 * len(entries))
    return exported


def _write(
    file: h5py.File,
    folder: Path,
    found: list[tuple[Entry, Path, list[_Layer]]],
    exported: Exported,
    step: Callable[[int], None],
) -> None:
    filters = file.create_dataset("filters", shape=(exported.n_filters, *KERNEL), dtype="f4")
    start = 0
    for done, (_, dump, layers) in enumerate(found):
        step(done)
        with DumpReader(dump) as reader:
            group = reader.lens(_LENS)
            for layer in layers:
                rows = _filters(group, layer.name)
                filters[start : start + len(rows)] = rows
                start += len(rows)
    every = [layer for _, _, layers in found for layer in layers]
    file["sparse_filter_ids"] = np.concatenate([layer.sparse for layer in every])
    meta = pd.DataFrame([layer.row for layer in every]).astype({"layer_depth": "int32"})
    facts = pd.DataFrame([_facts(entry) for entry, _, layers in found for _ in layers])
    frame = pd.concat([meta, facts], axis=1).set_index(_LEVELS)
    write_frame(file, "meta", frame)
    write_frame(file, "meta_sparsity", pd.DataFrame([layer.sparsity for layer in every], index=frame.index))
    names = [(entry.model_id, layer.name) for entry, _, layers in found for layer in layers]
    for key, column, metric in (("meta_ortho", "ortho", "orthogonality"), ("meta_pca", "entropy", "variance_entropy")):
        scores = _scores(folder, metric)
        if scores:
            values = [scores.get(name, math.nan) for name in names]
            write_frame(file, key, pd.DataFrame({column: values}, index=frame.index, dtype=np.float64))


def _layers(entry: Entry, dump: Path, number: int, start: int) -> list[_Layer]:
    """Describe a model's 3x3 convolutions; every filter is read once, so that a damaged dump is met here."""
    if not dump.is_file():
        raise DumpError("it has no dump")
    with DumpReader(dump) as reader:
        if _LENS not in reader.held:
            return []
        group = reader.lens(_LENS)
        names = [name for name in group.names() if group.shape(name)[2:] == KERNEL]
        own = _layer_ids(names)
        attributes = {name: group.attributes_of(name) for name in names}
        layers = []
        for name in names:
            shape, told = group.shape(name), attributes[name]
            n = shape[0] * shape[1]
            maxima = np.abs(_filters(group, name)).reshape(n, -1).max(axis=1)
            top = maxima.max(initial=0)
            sparse = np.flatnonzero(maxima <= top / _THRESHOLD)
            row = {
                "model_id": number,
                "conv_depth": _depth(told.get("conv_depth")),
                "conv_depth_norm": _norm(told.get("conv_depth_norm")),
                "layer_id": own[name],
                "layer_depth": -1,  # the graph's depth is not kept
                "in_channels": shape[1],
                "out_channels": shape[0],
                "filter_ids": f"{start}:{start + n - 1}",
                "model": entry.model_id,
                "path": entry.source,
                "producer": f"filterlens {__version__}",
            }
            sparsity = {
                "layer_norm": float(top),
                "layer_sparse_filters": len(sparse),
                "layer_num_filters": n,
                "layer_sparse_share": len(sparse) / n,
            }
            layers.append(_Layer(name, row, sparsity, (start + sparse).astype(np.int64)))
            start += n
    total = sum(layer.sparsity["layer_num_filters"] for layer in layers)
    counts = {"(3, 3) filters": total, "depth": _levels(layers)}
    for layer in layers:
        layer.row.update(counts)
    return layers


def _levels(layers: list[_Layer]) -> int:
    """Depth levels that hold a convolution, as the deepest of these says."""
    deepest = max(layers, key=lambda layer: layer.row["conv_depth"], default=None)
    if deepest is None:
        return 0
    depth, norm = int(deepest.row["conv_depth"]), float(deepest.row["conv_depth_norm"])
    return round(depth / norm) + 1 if norm > 0 else depth + 1


def _depth(told: object) -> int:
    """Depth of a convolution as its dump says; -1 where it says nothing that is one."""
    return int(told) if isinstance(told, int | np.integer) and 0 <= told < _MAX_DEPTH else -1


def _norm(told: object) -> float:
    """Relative depth in [0, 1], as `_depth`; depths are whole, so that no other is below 1 / `_MAX_DEPTH`."""
    norm = float(told) if isinstance(told, int | float | np.integer | np.floating) else math.nan
    return norm if norm == 0 or 1 / _MAX_DEPTH <= norm <= 1 else math.nan


def _layer_ids(names: list[str]) -> dict[str, int]:
    """Return the numbers that an imported run's layers bear, else their places."""
    found = [re.fullmatch(r"layer(\d{1,18})", name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    if len(set(numbers)) == len(names):
        return dict(zip(names, numbers, strict=True))
    return {name: place for place, name in enumerate(names)}


def _filters(group: DumpGroup, name: str) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = group.read(name).astype(np.float32, copy=False).reshape(-1, *KERNEL)
    return rows


def _facts(entry: Entry) -> dict[str, object]:
    """Columns that annotate a model, in the authors' words; what is not known is NaN."""
    known: dict[str, object] = {
        "Name": entry.model_id,
        "Paper": entry.paper,
        "Selection": entry.match_rule,
        "Robust": entry.robust,
        "Clean Accuracy": entry.clean_acc,
        "Robust Accuracy": entry.robust_acc,
        "Network": entry.architecture,
        "Backbone": entry.architecture,
        "Framework": "pytorch",
        "Training-Dataset": entry.dataset,
    }
    facts = {name: math.nan if value in {None, ""} else value for name, value in known.items()}
    return facts | dict.fromkeys(_UNKNOWN, math.nan)


def _scores(folder: Path, metric: str) -> dict[tuple[str, str], float]:
    """Scores of convolutions, where the run has been analysed."""
    path = folder / "scores.parquet"
    if not path.is_file():
        return {}
    table = read_scores(path)
    chosen = table[(table["lens"] == _LENS) & (table["metric"] == metric)]
    return {
        (model, layer): float(value)
        for model, layer, value in zip(chosen["model_id"], chosen["layer"], chosen["value"], strict=True)
    }
