"""The filters lens: every score of every convolution, from a dump or from a weight to rows of the score table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.dumps import DumpGroup, number
from filterlens.errors import InputError, NonFiniteWeightError
from filterlens.lens import score_rows, scores_of
from filterlens.lenses.filters.conventions import SPARSITY_THRESHOLD, Convention
from filterlens.lenses.filters.distribution import Summary
from filterlens.lenses.filters.layer import Layer, compute_together
from filterlens.lenses.kernels import kernel_note, main_kernel
from filterlens.score import Score

__all__ = ["analyze", "analyze_together", "layer_rows", "scorable", "score_layer"]


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
    summary = Summary()

    def layers() -> Iterator[tuple[str, Layer | str]]:
        for name in group.names():
            layer = scorable(torch.from_numpy(group.read(name)))
            yield name, layer
            if isinstance(layer, Layer):
                summary.add(layer, group.attributes_of(name))

    return _rows(group, layers(), scores_of("filters")), summary.arrays


def analyze_together(groups: Sequence[DumpGroup]) -> list[list[dict[str, object]]]:
    """Score every convolution of many small models, those of equal shape in one batch.

    Parameters
    ----------
    groups
        As for `analyze`, one a model.

    Returns
    -------
        The rows of each, as `analyze` has them.
    """
    models = [{name: scorable(torch.from_numpy(group.read(name))) for name in group.names()} for group in groups]
    compute_together([layer for layers in models for layer in layers.values() if isinstance(layer, Layer)])
    scores = scores_of("filters")
    return [_rows(group, layers.items(), scores) for group, layers in zip(groups, models, strict=True)]


def _rows(
    group: DumpGroup, layers: Iterable[tuple[str, Layer | str]], scores: Sequence[Score]
) -> list[dict[str, object]]:
    """Rows of a model's convolutions, in order."""
    kernels = {name: (shape[2], shape[3]) for name in group.names() if len(shape := group.shape(name)) == 4}
    main = main_kernel(kernels.values())
    rows: list[dict[str, object]] = []
    for name, layer in layers:
        shape, attributes = group.shape(name), group.attributes_of(name)
        depth, norm = number(attributes, "conv_depth", -1), number(attributes, "conv_depth_norm", math.nan)
        common: dict[str, object] = {
            "layer": name,
            "kind": "x".join(str(size) for size in shape[2:]),
            "conv_depth": depth if depth >= 0 else math.nan,
            "conv_depth_norm": norm,
        }
        notes = (*_notes(attributes), *kernel_note(main))
        own = layer_rows(layer, scores, counts=shape[2:] == main, notes=notes)
        rows.extend({**common, **row} for row in own)
    return rows


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


def layer_rows(
    layer: Layer | str, scores: Sequence[Score], *, counts: bool = True, notes: tuple[str, ...] = ()
) -> list[dict[str, object]]:
    """Rows of one convolution; NaN with the reason in `note` where it has no score.

    Parameters
    ----------
    layer
        What `scorable` returns.
    scores
        The lens's.
    counts
        Whether it has a weight in the model's mean.
    notes
        What else is to be kept in mind.
    """
    if isinstance(layer, Layer):
        found = list(score_rows(scores, layer))
    else:
        names = [found.name for found in scores if found.applies is None]
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
