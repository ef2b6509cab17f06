"""Scores of the perturbation lens, from one model's spectra and its accuracy under noise of each band."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.lenses.perturbation.bands import radius
from filterlens.score import score

__all__ = ["Frequencies", "critical_bandwidth", "critical_frequency"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Frequencies:
    """What one model shows of frequencies.

    Parameters
    ----------
    clean
        Accuracy on clean images.
    edges
        Ends of the bands in cycles a pixel, rising, shape (bands + 1,).
    accuracy
        Under noise of each band, mean over levels, shape (bands,).
    image_power
        Mean power spectrum of the images without their means, shape (h, w).
    perturbation_power
        Mean power spectrum of what the attack adds, or None.
    """

    clean: float
    edges: Array
    accuracy: Array
    image_power: Array
    perturbation_power: Array | None = None

    @property
    def lost(self) -> Array:
        """Accuracy that noise of each band costs, at least 0, shape (bands,)."""
        return np.maximum(self.clean - self.accuracy, 0)

    @property
    def octaves(self) -> Array:
        """Logarithm of each band's middle, in octaves over one cycle a pixel, shape (bands,)."""
        return np.asarray(np.log2(self.edges[1:] * self.edges[:-1]) / 2, dtype=np.float64)


def _centroid(power: Array) -> float:
    total = float(power.sum())
    return float((radius(*power.shape) * power).sum() / total) if total > 0 else math.nan


def _attacked(found: Frequencies) -> bool:
    return found.perturbation_power is not None


_CYCLES: dict[str, Any] = {"lens": "perturbation", "bounds": (0.0, math.sqrt(0.5)), "unit": "cycles a pixel"}
_DELTA = "P(u, v) the mean power of δ = x̃ − x, x̃ of PGD-20 with one start, u, v in cycles a pixel"
_SAME = "Compare models on the same images and within the same ball only: L∞ and L2 attacks differ in frequency."
_NOISE = (
    "Noise is not cut off at [0, 1], so that it keeps its band. Of one norm, noise of the narrow low bands moves few "
    "coefficients far."
)


@score(
    title="Centroid of the attack",
    formula=f"Σ √(u² + v²) P / Σ P, {_DELTA}",
    reference="ours, after Yin2019 §4",
    chance="0.383 for white noise",
    pitfalls=_SAME + " Signs of L∞ attacks alone spread energy over all frequencies.",
    applies=_attacked,
    **_CYCLES,
)
def perturbation_centroid(found: Frequencies) -> float:
    """Mean spatial frequency of what an attack adds to images."""
    return math.nan if found.perturbation_power is None else _centroid(found.perturbation_power)


@score(
    lens="perturbation",
    title="Low-frequency share of the attack",
    formula=f"Σ_{{√(u² + v²) < 1/4}} P / Σ P, {_DELTA}",
    reference="ours, after Yin2019 §4",
    bounds=(0.0, 1.0),
    unit="share",
    chance="0.19 for white noise",
    pitfalls=_SAME,
    applies=_attacked,
)
def perturbation_low_share(found: Frequencies) -> float:
    """Share of an attack's energy below half the Nyquist frequency."""
    power = found.perturbation_power
    if power is None or not power.sum() > 0:
        return math.nan
    return float(power[radius(*power.shape) < 0.25].sum() / power.sum())


@score(
    title="Centroid of clean images",
    formula="Σ √(u² + v²) P / Σ P, P the images' mean power without the mean of each image and channel",
    reference="ours, after Yin2019 §4",
    pitfalls="A fact of the images, not of the model: what the attack's centroid is to be held beside.",
    auxiliary=True,
    **_CYCLES,
)
def image_centroid(found: Frequencies) -> float:
    """Mean spatial frequency of clean images."""
    return _centroid(found.image_power)


@score(
    lens="perturbation",
    title="Accuracy under band-limited noise",
    formula="mean over bands b and levels σ of mean [argmax f(x + σ n_b) = y], n_b Gaussian noise of one half-octave "
    "band with root mean square 1",
    reference="ours, after Yin2019 §3 and Subramanian2023 §3",
    bounds=(0.0, 1.0),
    unit="share",
    higher_is_better=True,
    chance="1 / classes",
    pitfalls=_NOISE,
)
def band_noise_accuracy(found: Frequencies) -> float:
    """Fraction of images classified correctly under noise of one band, mean over bands and three levels."""
    return float(found.accuracy.mean())


@score(
    title="Critical frequency",
    formula="2^(Σ_b d_b log₂ f_b / Σ d_b), d_b = max(0, clean accuracy − accuracy under noise of band b), f_b its "
    "middle",
    reference="ours, after Subramanian2023 §3",
    pitfalls=_NOISE + " Noisy where noise hardly costs anything; not defined where it costs nothing.",
    **_CYCLES,
)
def critical_frequency(found: Frequencies) -> float:
    """Centre, in octaves, of the bands in which noise costs accuracy."""
    lost = found.lost
    return float(2 ** (lost @ found.octaves / lost.sum())) if lost.sum() > 0 else math.nan


@score(
    lens="perturbation",
    title="Critical bandwidth",
    formula="√(8 ln 2) σ, σ² = Σ_b d_b (log₂ f_b − c)² / Σ d_b, c the critical frequency's logarithm: the width of a "
    "Gaussian at half its height",
    reference="ours, after Subramanian2023 §3",
    bounds=(0.0, None),
    unit="octaves",
    robust_is="higher",
    claim="Subramanian2023, abstract: adversarial training expands the channel bandwidth even further; measured by a "
    "score of ours",
    chance="3.4 where every band of a 32 x 32 image costs the same; people have 1 in that paper",
    pitfalls="Bounded by the bands that the image has, so that image sizes do not compare. " + _NOISE,
)
def critical_bandwidth(found: Frequencies) -> float:
    """How wide, in octaves, the bands are in which noise costs accuracy."""
    lost, octaves = found.lost, found.octaves
    if not lost.sum() > 0:
        return math.nan
    centre = lost @ octaves / lost.sum()
    return float(math.sqrt(8 * math.log(2) * (lost @ (octaves - centre) ** 2 / lost.sum())))
