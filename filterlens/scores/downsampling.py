"""Scores of the downsampling lens."""

from __future__ import annotations

from filterlens.scores.descriptor import Score

__all__ = ["SCORES"]

SCORES: tuple[Score, ...] = (
    Score(
        name="aliasing",
        lens="downsampling",
        title="Aliasing",
        summary="L1 distance, in the Fourier domain, between a downsampled map and its alias-free counterpart.",
        formula="Σ |P_O - P_A| over the frequencies of the downsampled map; mean over channels and images",
        reference="Grabinski2022, the aliasing measure AM",
        bounds=(0.0, None),
        higher_is_better=False,
        robust_is="lower",
        chance="white noise of variance σ² and stride product S: σ² (S + 1) / S · √((S - 1) / (S + 3))",
        pitfalls=(
            "Grows with the square of the activations: two networks, or two epochs, of different scale cannot be "
            "compared by it; read aliasing_relative beside it."
        ),
    ),
    Score(
        name="aliasing_relative",
        lens="downsampling",
        title="Relative aliasing",
        summary="The same distance after the dense map's mean is taken off, divided by the map's remaining power.",
        formula="Σ |P_O - P_A| / Σ P_D, D and O less the mean of D (0 if constant); mean over channels and images",
        reference="ours, after Grabinski2022",
        bounds=(0.0, None),
        higher_is_better=False,
        robust_is="lower",
        chance="white noise of stride product S: (S + 1) / S · √((S - 1) / (S + 3)), 0.82 for stride 2",
        pitfalls="A map that is almost constant still counts as much as any other.",
    ),
    Score(
        name="alias_energy",
        lens="downsampling",
        title="Alias energy",
        summary="Share of the dense map's power, its mean taken off, at frequencies that subsampling folds.",
        formula="1 - Σ P_A / Σ P_D, D less its mean; 0 for a constant map; mean over channels and images",
        reference="ours, after Grabinski2022",
        bounds=(0.0, 1.0),
        unit="share",
        higher_is_better=False,
        robust_is="lower",
        chance="white noise of stride product S: 1 - 1 / S, 0.75 for stride 2",
        pitfalls="Says what will fold, not what the fold does: folded power may add to or cancel what is there.",
    ),
)
