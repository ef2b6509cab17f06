"""Scores of a downsampling operation: the means of its maps' scores (`aliasing`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from filterlens.score import score

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Operation"]

KINDS_OF_THE_MEAN = ("main", "pool")
_CACHED_SAMPLES = 1 << 19  # scored at once, so that the steps of the arithmetic find each other's results in the cache


class Operation:
    """One downsampling operation, its maps taken in batch by batch.

    Parameters
    ----------
    layer, kind
        Its name; `main` (a kernel larger than 1x1), `shortcut` (1x1) or `pool`.
    stride
        (s_h, s_w).
    place
        In execution order, from 0.
    """

    def __init__(self, layer: str, kind: str, stride: tuple[int, int], place: int) -> None:
        self.layer, self.kind, self.stride, self.place = layer, kind, stride, place
        self.n_maps = 0
        self._sums: list[float] = [0.0, 0.0, 0.0]

    def add(self, dense: Tensor) -> None:
        """Take in maps of shape (..., s_h H, s_w W)."""
        import torch

        from filterlens.lenses.downsampling.aliasing import map_scores

        maps = dense.flatten(0, -3)
        size = max(1, _CACHED_SAMPLES // (maps.shape[-2] * maps.shape[-1]))
        for part in torch.split(maps, len(maps) if maps.is_cuda else size):
            scores = map_scores(part, stride=self.stride)
            sums = (scores.aliasing.sum(), scores.aliasing_relative.sum(), scores.alias_energy.sum())
            self._sums = [total + float(one) for total, one in zip(self._sums, sums, strict=True)]
        self.n_maps += len(maps)

    def mean(self, place: int) -> float:
        """Mean of one of the three scores over all maps so far; NaN where a map held NaN or Inf."""
        value = self._sums[place] / self.n_maps if self.n_maps else math.nan
        return value if math.isfinite(value) else math.nan

    @property
    def counts(self) -> float:
        """Weight in the model's mean: 1 for `main` and `pool`, 0 for shortcuts."""
        return 1.0 if self.kind in KINDS_OF_THE_MEAN else 0.0


_CLAIM = "Grabinski2022, abstract: robust models downsample with less aliasing than baselines"


@score(
    lens="downsampling",
    name="aliasing",
    title="Aliasing (our reading)",
    formula="Σ |P_O - P_A| over the frequencies of the downsampled map; mean over channels and images",
    reference="our reading of Grabinski2022's aliasing measure",
    bounds=(0.0, None),
    higher_is_better=False,
    robust_is="lower",
    claim=f"{_CLAIM}; measured by our reading of its aliasing measure",
    chance="white noise of variance σ² and stride product S: σ² (S + 1) / S · √((S - 1) / (S + 3))",
    pitfalls=(
        "Grows with the square of the activations: two networks, or two epochs, of different scale cannot be "
        "compared by it; read aliasing_relative beside it."
    ),
    weight="counts",
)
def mean_aliasing(operation: Operation) -> float:
    """L1 distance, in the Fourier domain, between a downsampled map and its alias-free counterpart."""
    return operation.mean(0)


@score(
    lens="downsampling",
    name="aliasing_relative",
    title="Relative aliasing",
    formula="Σ |P_O - P_A| / Σ P_D, D and O less the mean of D (0 if constant); mean over channels and images",
    reference="ours, after Grabinski2022",
    bounds=(0.0, None),
    higher_is_better=False,
    robust_is="lower",
    claim=f"{_CLAIM}; measured by a score of ours",
    chance="white noise of stride product S: (S + 1) / S · √((S - 1) / (S + 3)), 0.82 for stride 2",
    pitfalls="A map that is almost constant still counts as much as any other.",
    weight="counts",
)
def mean_aliasing_relative(operation: Operation) -> float:
    """L1 distance after the dense map's mean is taken off, divided by the map's remaining power."""
    return operation.mean(1)


@score(
    lens="downsampling",
    name="alias_energy",
    title="Alias energy",
    formula="1 - Σ P_A / Σ P_D, D less its mean; 0 for a constant map; mean over channels and images",
    reference="ours, after Grabinski2022",
    bounds=(0.0, 1.0),
    unit="share",
    higher_is_better=False,
    robust_is="lower",
    claim=f"{_CLAIM}; measured by a score of ours",
    chance="white noise of stride product S: 1 - 1 / S, 0.75 for stride 2",
    pitfalls="Says what will fold, not what the fold does: folded power may add to or cancel what is there.",
    weight="counts",
)
def mean_alias_energy(operation: Operation) -> float:
    """Share of the dense map's power, its mean taken off, at frequencies that subsampling folds."""
    return operation.mean(2)
