"""The filters lens: every score of every convolution, from a dump or from a weight to rows of the score table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.dumps import DumpGroup, number
from filterlens.errors import InputError, NonFiniteWeightError
from filterlens.lens import all_scores, score_rows
from filterlens.lenses.filters.conventions import SPARSITY_THRESHOLD, Convention
from filterlens.lenses.filters.distribution import Summary
from filterlens.lenses.filters.layer import Layer
from filterlens.lenses.kernels import kernel_note, main_kernel

__all__ = ["analyze", "layer_rows", "scorable", "score_layer"]


def score_layer(
    weight: Tensor, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
) -> dict[str, float]:
    """Compute every score of one convolution that is defined for its kernel.

    Parameters
    ----------
    weight
        Convolution weight, shape (c_out, c_in / groups, k_h, k_w), on any device.
    threshold
        Fraction of the layer's largest absolute weight at which a filter is sparse, in (0, 1).
    convention
        See `filterlens.lenses.filters.conventions`.

    Returns
    -------
        Values by metric.

    Raises
    ------
    InputError
        The weight is no convolution's, or threshold or convention is unknown.
    NonFiniteWeightError
        The layer holds NaN or Inf.
    """
    layer = Layer(weight, threshold=threshold, convention=convention)
    return {str(row["metric"]): float(str(row["value"])) for row in score_rows("filters", layer)}


def analyze(group: DumpGroup) -> tuple[list[dict[str, object]], dict[str, NDArray[np.float64]]]:
    """Score every convolution of a dump.

    Parameters
    ----------
    group
        The dump's `/filters`: one array a convolution, shape (c_out, c_in / groups, k_h, k_w).

    Returns
    -------
    rows
        Of the score table: one a layer and metric that is defined for its kernel. Only filters of one size have a
        weight in the model's mean: 3x3, or the network's own where it has none.
    summary
        What `filterlens.lenses.filters.distribution` needs of the model.
    """
    kernels = {name: (shape[2], shape[3]) for name in group.names() if len(shape := group.shape(name)) == 4}
    main = main_kernel(kernels.values())
    rows: list[dict[str, object]] = []
    summary = Summary()
    for name in group.names():
        shape, attributes = group.shape(name), group.attributes_of(name)
        depth, norm = number(attributes, "conv_depth", -1), number(attributes, "conv_depth_norm", math.nan)
        common: dict[str, object] = {
            "layer": name,
            "kind": "x".join(str(size) for size in shape[2:]),
            "conv_depth": depth if depth >= 0 else math.nan,
            "conv_depth_norm": norm,
        }
        layer = scorable(torch.from_numpy(group.read(name)))
        notes = (*_notes(attributes), *kernel_note(main))
        rows.extend({**common, **row} for row in layer_rows(layer, counts=shape[2:] == main, notes=notes))
        if isinstance(layer, Layer):
            summary.add(layer, attributes)
    return rows, summary.arrays


def scorable(weight: Tensor) -> Layer | str:
    """Return a weight as a layer, or why it has no score."""
    try:
        layer = Layer(weight)
        _ = layer.maxima
    except NonFiniteWeightError:
        return "holds NaN or Inf"
    except InputError as error:
        return str(error)
    return layer


def layer_rows(layer: Layer | str, *, counts: bool = True, notes: tuple[str, ...] = ()) -> list[dict[str, object]]:
    """Rows of one convolution; NaN with the reason in `note` where it has no score.

    Parameters
    ----------
    layer
        What `scorable` returns.
    counts
        Whether it has a weight in the model's mean.
    notes
        What else is to be kept in mind.
    """
    if isinstance(layer, Layer):
        found = list(score_rows("filters", layer))
    else:
        names = [found.name for found in all_scores().values() if found.lens == "filters" and found.applies is None]
        found = [{"metric": name, "value": math.nan, "weight": 0.0} for name in names]
        notes = (f"skipped: {layer}", *notes)
    return [{**row, "weight": row["weight"] if counts else 0.0, "note": "; ".join(notes)} for row in found]


def _notes(attributes: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if attributes.get("depth_from") == "keys":
        notes.append("depth is the order of the state dict's keys")
    if attributes.get("folded"):
        notes.append("BatchNorm is folded into the weights")
    return tuple(notes)
