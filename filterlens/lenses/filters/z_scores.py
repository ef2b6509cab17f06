"""Filter scores against random weights of the layer's shape, in standard deviations (see `chance`)."""

from __future__ import annotations

import math

from filterlens.lenses.filters import chance
from filterlens.lenses.filters.layer import Layer
from filterlens.lenses.filters.orthogonality import orthogonality
from filterlens.score import score

__all__ = ["orthogonality_z", "sparsity_z", "variance_entropy_z"]


@score(
    lens="filters",
    title="Sparsity, z against chance",
    formula="(n_sparse − n p) / max(1, √(n p (1 − p))), p = (2 Φ(ε M) − 1)^(k²), M the median largest |weight|",
    reference="filterlens",
    chance="0 ± 1",
    pitfalls="Grows with the number of filters; the deviation counts as one filter at least.",
    auxiliary=True,
    weight="n_filters",
)
def sparsity_z(layer: Layer) -> float:
    """Sparse filters beyond those of random weights of the same shape, in standard deviations."""
    return chance.sparsity_z(layer.n_sparse, layer.n_filters, math.prod(layer.kernel), threshold=layer.threshold)


@score(
    lens="filters",
    title="Variance entropy, z against chance",
    formula="(H − E H) / sd H over scaled normal filters, simulated for 2x2 to 5x5, 7x7, 8x8, 14x14 and 16x16",
    reference="filterlens",
    chance="0 ± 1; skewed to the left below ten filters",
    pitfalls="Random filters of large layers hardly vary: hundreds below zero are common after training.",
    auxiliary=True,
    weight="n_kept",
)
def variance_entropy_z(layer: Layer) -> float:
    """Variance entropy above that of as many random filters, in standard deviations."""
    if layer.convention != "paper":  # chance is simulated for scaled filters only
        return math.nan
    return chance.variance_entropy_z(layer.scaled_entropy, layer.n_kept, math.prod(layer.kernel))


@score(
    lens="filters",
    title="Orthogonality, z against chance",
    formula="(O − μ) / σ, μ = 1 − Γ(d/2) / (√π Γ((d+1)/2)), σ² = 2 (1/d − (1 − μ)²) / (c_out (c_out − 1))",
    reference="filterlens",
    chance="0 ± 1",
    pitfalls="Positive means more orthogonal than chance, as after an orthogonal initialisation.",
    auxiliary=True,
    weight="c_out",
)
def orthogonality_z(layer: Layer) -> float:
    """Orthogonality above that of random rows of the same shape, in standard deviations."""
    return chance.orthogonality_z(orthogonality(layer), layer.c_out, layer.weight[0].numel())
