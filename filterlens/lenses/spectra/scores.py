"""Scores of a weight matrix's singular values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterlens.lenses.spectra.power_law import PowerLaw, fit_power_law
from filterlens.score import score

__all__ = [
    "Spectrum",
    "bulk_share",
    "effective_rank",
    "frobenius_norm",
    "operator_norm_bound",
    "power_law_alpha",
    "power_law_distance",
    "spectral_condition",
    "spectral_norm",
    "stable_rank",
]

_FLOAT32: Final = float(np.finfo(np.float32).eps)
_VALUES: Final = "σ_1 ≥ σ_2 ≥ … the singular values"


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values of one weight matrix.

    Parameters
    ----------
    values
        Shape (min(rows, columns),), falling; empty or NaN where they are not known.
    rows, columns
        Of the matrix.
    kind
        `conv`, `linear`, `query`, `key`, `value`, `embedding` or `matrix`.
    operator_norm
        Upper bound of a convolution's operator norm; NaN for others.
    """

    values: NDArray[np.float64]
    rows: int
    columns: int
    kind: str = "matrix"
    operator_norm: float = math.nan

    @cached_property
    def nonzero(self) -> NDArray[np.float64]:
        """Singular values above σ_1 · max(rows, columns) · 2⁻²³, the rounding of float32; none if not finite."""
        if not len(self.values) or not math.isfinite(self.values[0]):
            return self.values[:0]
        zero = self.values[0] * max(self.rows, self.columns) * _FLOAT32
        return np.asarray(self.values[self.values > zero], dtype=np.float64)

    @cached_property
    def power_law(self) -> PowerLaw:
        """Power-law fit of the eigenvalues σ² that are not zero."""
        return fit_power_law(self.nonzero**2)


@score(
    lens="spectra",
    title="Spectral norm",
    formula=f"σ_1; {_VALUES}",
    reference="linear algebra",
    bounds=(0.0, None),
    pitfalls="BatchNorm or LayerNorm behind the layer takes its scale out again.",
    by_depth=True,
)
def spectral_norm(spectrum: Spectrum) -> float:
    """Largest singular value of the weight matrix."""
    return float(spectrum.values[0]) if len(spectrum.values) else math.nan


@score(
    lens="spectra",
    title="Frobenius norm",
    formula="√(Σ σ_i²)",
    reference="linear algebra",
    bounds=(0.0, None),
    pitfalls="Grows with the layer's size.",
)
def frobenius_norm(spectrum: Spectrum) -> float:
    """Root of the sum of the squared weights."""
    return float(np.linalg.norm(spectrum.values)) if len(spectrum.values) else math.nan


@score(
    lens="spectra",
    title="Stable rank",
    formula="Σ σ_i² / σ_1²",
    reference="Rudelson2007 §1",
    bounds=(1.0, None),
    chance="about m n / (√m + √n)² for an m x n matrix of independent weights",
    pitfalls="Grows with the smaller side: compare layers of equal shape.",
    by_depth=True,
)
def stable_rank(spectrum: Spectrum) -> float:
    """How many directions share the squared norm, told from the largest; a lower bound of the rank."""
    kept = spectrum.nonzero
    return float(np.sum((spectrum.values / kept[0]) ** 2)) if len(kept) else math.nan


@score(
    lens="spectra",
    title="Effective rank",
    formula="exp(− Σ p_i ln p_i), p_i = σ_i / Σ σ",
    reference="Roy2007 §2",
    bounds=(1.0, None),
    pitfalls="Grows with the smaller side: compare layers of equal shape.",
    by_depth=True,
)
def effective_rank(spectrum: Spectrum) -> float:
    """Exponential of the entropy of the normalised singular values."""
    kept = spectrum.nonzero
    p = kept / kept.sum()
    return float(np.exp(-np.sum(p * np.log(p)))) if len(kept) else math.nan


@score(
    lens="spectra",
    title="Condition",
    formula="σ_1 / min{σ_i : σ_i > σ_1 · max(m, n) · 2⁻²³}",
    reference="linear algebra",
    bounds=(1.0, None),
    pitfalls="The smallest singular value of a square random matrix is near 0: small factors say nothing.",
)
def spectral_condition(spectrum: Spectrum) -> float:
    """Largest singular value over the smallest that is not zero in float32."""
    kept = spectrum.nonzero
    return float(kept[0] / kept[-1]) if len(kept) else math.nan


@score(
    lens="spectra",
    title="Power-law α",
    formula="p(λ) ∝ λ^(−α) for λ ≥ λ_min, λ = σ²; maximum likelihood, λ_min of least Kolmogorov-Smirnov distance",
    reference="Clauset2009 §3; Martin2021",
    bounds=(1.0, None),
    pitfalls="Read power_law_distance beside it: a fit exists for any spectrum. Not defined below 20 values.",
    by_depth=True,
)
def power_law_alpha(spectrum: Spectrum) -> float:
    """Exponent of the power law fitted to the tail of the eigenvalues σ²."""
    return spectrum.power_law.alpha


@score(
    lens="spectra",
    title="Power law's KS distance",
    formula="max_i |1 − (λ_i / λ_min)^(1 − α) − i / n| over the n eigenvalues of the tail",
    reference="Clauset2009 §3",
    bounds=(0.0, 1.0),
    pitfalls="Short tails lie nearer to their fit.",
    auxiliary=True,
)
def power_law_distance(spectrum: Spectrum) -> float:
    """Kolmogorov-Smirnov distance between the tail of the eigenvalues and the fitted power law."""
    return spectrum.power_law.distance


@score(
    lens="spectra",
    title="Random bulk",
    formula="#{σ_i ≤ s (√m + √n)} / min(m, n), s² = Σ σ² / (m n)",
    reference="Marchenko1967; Martin2021",
    bounds=(0.0, 1.0),
    unit="share",
    chance="about 1",
    pitfalls="The few that stand out raise s too, and with it the edge.",
)
def bulk_share(spectrum: Spectrum) -> float:
    """Share of singular values below the edge that independent weights of the same variance would have."""
    m, n = spectrum.rows, spectrum.columns
    if not len(spectrum.nonzero):
        return math.nan
    edge = np.linalg.norm(spectrum.values) / math.sqrt(m * n) * (math.sqrt(m) + math.sqrt(n))
    return float(np.mean(spectrum.values <= edge))


@score(
    lens="spectra",
    title="Operator norm",
    formula="max_ω ‖G_t(ω)‖_F^(1 / 2^t) · Π 1 / cos(π (k − 1) / 2N), G_{t+1} = G_t* G_t, G_0(ω) = Σ_j W_j e^{i⟨ω, j⟩}",
    reference="Delattre2023 §3",
    bounds=(0.0, None),
    pitfalls="An upper bound; of wide layers by unrolling, up to k times too large: see the row's note.",
    by_depth=True,
    applies=lambda spectrum: spectrum.kind == "conv",
)
def operator_norm_bound(spectrum: Spectrum) -> float:
    """Upper bound of a convolution's operator norm, for any input size with zero or circular padding."""
    return spectrum.operator_norm
