"""The filters lens: every score of every convolution, from a dump to rows of the score table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from filterlens.analyzers.chance import orthogonality_z, sparsity_z, variance_entropy_z
from filterlens.analyzers.conventions import (
    SPARSITY_THRESHOLD,
    Convention,
    as_filters,
    check_finite,
    prepare,
    rounded,
)
from filterlens.analyzers.diversity import normalized_entropy, raw_entropy, scaled_entropy
from filterlens.analyzers.orthogonality import row_orthogonality
from filterlens.analyzers.sparsity import filter_maxima, sparse_filters
from filterlens.dumps import DumpGroup
from filterlens.errors import InputError, NonFiniteWeightError

__all__ = ["METRICS", "LayerScores", "analyze", "score_layer"]

METRICS = (
    "sparsity",
    "variance_entropy",
    "variance_entropy_raw",
    "variance_entropy_raw_normalized",
    "orthogonality",
    "sparsity_z",
    "variance_entropy_z",
    "orthogonality_z",
)


@dataclass(frozen=True, slots=True)
class LayerScores:
    """Every score of one convolution; NaN where a score is not defined.

    Parameters
    ----------
    c_out, n_filters, n_kept
        Output channels, two-dimensional filters, and those of them that are not sparse.
    sparsity, variance_entropy, variance_entropy_raw, variance_entropy_raw_normalized, orthogonality
        As the functions of these names.
    sparsity_z, variance_entropy_z, orthogonality_z
        The same against random weights of the layer's shape, in standard deviations (`filterlens.analyzers.chance`).
    """

    c_out: int
    n_filters: int
    n_kept: int
    sparsity: float
    variance_entropy: float
    variance_entropy_raw: float
    variance_entropy_raw_normalized: float
    orthogonality: float
    sparsity_z: float
    variance_entropy_z: float
    orthogonality_z: float

    def weight(self, metric: str) -> float:
        """How much this layer counts in the model's mean of a metric (Gavrikov2022Lens, section 3)."""
        if metric.startswith("orthogonality"):
            return float(self.c_out)
        if metric in {"variance_entropy", "variance_entropy_z"}:
            return float(self.n_kept)
        return float(self.n_filters)


def score_layer(
    weight: Tensor, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
) -> LayerScores:
    """Every score of one convolution in one go.

    Parameters
    ----------
    weight
        Convolution weight, shape (c_out, c_in / groups, k_h, k_w), on any device.
    threshold
        Fraction of the layer's largest absolute weight at which a filter is sparse, in (0, 1).
    convention
        See `filterlens.analyzers.conventions`.

    Raises
    ------
    InputError
        The weight is no convolution's, or threshold or convention is unknown.
    NonFiniteWeightError
        The layer holds NaN or Inf.
    """
    weight = prepare(weight)
    filters = as_filters(weight)
    maxima = filter_maxima(filters)
    check_finite(maxima)
    sparse = sparse_filters(maxima, threshold=threshold, convention=convention)
    n, n_sparse = filters.shape[0], int(sparse.sum())
    raw = raw_entropy(rounded(filters, convention))
    diversity = scaled_entropy(filters, maxima, sparse) if convention == "paper" else raw
    ortho = row_orthogonality(weight.flatten(1))
    k, d = filters.shape[1], weight[0].numel()
    return LayerScores(
        c_out=weight.shape[0],
        n_filters=n,
        n_kept=n - n_sparse,
        sparsity=n_sparse / n,
        variance_entropy=diversity,
        variance_entropy_raw=raw,
        variance_entropy_raw_normalized=normalized_entropy(raw, n) if weight.shape[2:] == (3, 3) else math.nan,
        orthogonality=ortho,
        sparsity_z=sparsity_z(n_sparse, n, k, threshold=threshold),
        # Of scaled filters: the only ones that chance is simulated for.
        variance_entropy_z=variance_entropy_z(diversity, n - n_sparse, k) if convention == "paper" else math.nan,
        orthogonality_z=orthogonality_z(ortho, weight.shape[0], d),
    )


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score every convolution of a dump.

    Parameters
    ----------
    group
        The dump's `/filters`: one array a convolution, shape (c_out, c_in / groups, k_h, k_w).

    Returns
    -------
        Rows of the score table: one a layer and metric that is defined for its kernel. Where a dump holds 3x3
        and other kernels, only the 3x3 ones have a weight in the model's mean.
    """
    shapes = {name: group.shape(name) for name in group.names()}
    has_3x3 = any(shape[2:] == (3, 3) for shape in shapes.values())
    rows: list[dict[str, object]] = []
    for name, shape in shapes.items():
        counts = not has_3x3 or shape[2:] == (3, 3)
        rows.extend(_layer_rows(name, group, counts=counts))
    return rows


def _layer_rows(name: str, group: DumpGroup, *, counts: bool) -> list[dict[str, object]]:
    shape = group.shape(name)
    attributes = group.attributes_of(name)
    notes = _notes(attributes)
    scores: LayerScores | None = None
    try:
        scores = score_layer(torch.from_numpy(group.read(name)))
    except NonFiniteWeightError:
        notes.insert(0, "skipped: holds NaN or Inf")
    except InputError as error:
        notes.insert(0, f"skipped: {error}")
    depth = int(attributes.get("conv_depth", -1))
    common: dict[str, object] = {
        "layer": name,
        "kind": "x".join(str(size) for size in shape[2:]),
        "conv_depth": float(depth) if depth >= 0 else math.nan,
        "conv_depth_norm": float(attributes.get("conv_depth_norm", math.nan)),
        "note": "; ".join(notes),
    }
    rows = []
    for metric in METRICS:
        if metric == "variance_entropy_raw_normalized" and shape[2:] != (3, 3):
            continue
        value = math.nan if scores is None else float(getattr(scores, metric))
        weight = 0.0 if scores is None or not counts or math.isnan(value) else scores.weight(metric)
        rows.append({**common, "metric": metric, "value": value, "weight": weight})
    return rows


def _notes(attributes: dict[str, Any]) -> list[str]:
    notes = []
    if attributes.get("depth_from") == "keys":
        notes.append("depth is the order of the state dict's keys")
    if attributes.get("folded"):
        notes.append("BatchNorm is folded into the weights")
    return notes
