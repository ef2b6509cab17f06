"""Scores of a layer's power spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterlens.score import score

__all__ = ["FilterSpectrum", "low_frequency_share", "spectral_centroid"]


@dataclass(frozen=True, eq=False)
class FilterSpectrum:
    """Power spectrum of one layer's filters.

    Parameters
    ----------
    power
        Shape (N_h, N_w), zero frequency first, summed over filters.
    n_filters
        Two-dimensional filters of the layer.
    """

    power: NDArray[np.float64]
    n_filters: int

    @property
    def radius(self) -> NDArray[np.float64]:
        """Distance from the zero frequency in cycles a sample, shape (N_h, N_w), up to √½."""
        u, v = (np.fft.fftfreq(n) for n in self.power.shape)
        return np.asarray(np.hypot(u[:, None], v[None, :]), dtype=np.float64)

    @property
    def total(self) -> float:
        """Power of all frequencies."""
        return float(self.power.sum())


@score(
    lens="frequency",
    title="Low-frequency share",
    formula="Σ_{√(u² + v²) < 1/4} P(u, v) / Σ P, P(u, v) the power of the zero-padded filters, u, v in cycles a sample",
    reference="ours, after Lukasik2023",
    bounds=(0.0, 1.0),
    unit="share",
    robust_is="higher",
    claim="Lukasik2023, abstract: adversarial training shifts the focus to low frequencies, clean-trained models often "
    "prioritise high ones; measured by a score of ours",
    chance="0.19 for independent weights: the share of these frequencies",
    pitfalls="Larger filters resolve lower frequencies: compare layers of equal kernel size only.",
    by_depth=True,
    weight="n_filters",
)
def low_frequency_share(spectrum: FilterSpectrum) -> float:
    """Share of the filters' energy below half the Nyquist frequency."""
    if not spectrum.total > 0:
        return math.nan
    return float(spectrum.power[spectrum.radius < 0.25].sum() / spectrum.total)


@score(
    lens="frequency",
    title="Spectral centroid",
    formula="Σ √(u² + v²) P(u, v) / Σ P, u, v in cycles a sample",
    reference="ours, after Lukasik2023",
    bounds=(0.0, math.sqrt(0.5)),
    unit="cycles a sample",
    robust_is="lower",
    claim="Lukasik2023, abstract: adversarial training shifts the focus to low frequencies, clean-trained models often "
    "prioritise high ones; measured by a score of ours",
    chance="0.383 for independent weights: the mean of √(u² + v²) over all frequencies",
    pitfalls="As for low_frequency_share; corners of the square reach to 0.707.",
    by_depth=True,
    weight="n_filters",
)
def spectral_centroid(spectrum: FilterSpectrum) -> float:
    """Mean frequency of the filters' energy, over all directions."""
    return float((spectrum.radius * spectrum.power).sum() / spectrum.total) if spectrum.total > 0 else math.nan
