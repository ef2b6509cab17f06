"""Flatness of the robust loss from the losses of every example [Stutz2021]_."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from filterlens.lenses.flatness.losses import ROBUST_LOSS, Losses, PerturbedLosses, mean_loss
from filterlens.score import score

__all__ = ["average_flatness", "class_flatness", "worst_flatness"]


def average_flatness(reference: Losses, perturbed: Losses) -> tuple[float, float]:
    """Mean rise of the robust loss over random weight perturbations.

    Parameters
    ----------
    reference
        Robust losses at the weights, shape (n,).
    perturbed
        Robust losses at w + ν_t, shape (T, n).

    Returns
    -------
        Mean rise in nats, and its standard error over the T perturbations (NaN where T is 1).

    Examples
    --------
    >>> average_flatness(np.array([1.0, 2.0]), np.array([[2.0, 3.0], [4.0, 5.0]]))
    (2.0, 1.0)
    """
    rises = _means(perturbed) - mean_loss(reference)
    error = float(rises.std(ddof=1) / math.sqrt(len(rises))) if len(rises) > 1 else math.nan
    return float(rises.mean()), error


def worst_flatness(reference: Losses, perturbed: Losses) -> tuple[float, float]:
    """Largest rise of the robust loss over the restarts of the joint attack.

    Parameters
    ----------
    reference
        Robust losses at the weights, shape (n,).
    perturbed
        Robust losses of the restarts, shape (R, n).

    Returns
    -------
        Largest rise in nats, at least 0 because ν = 0 lies in the ball; and highest less lowest restart.

    Examples
    --------
    >>> worst_flatness(np.array([1.0, 2.0]), np.array([[2.0, 3.0], [4.0, 5.0]]))
    (3.0, 2.0)
    """
    rises = _means(perturbed) - mean_loss(reference)
    highest = float(rises.max())
    return highest if math.isnan(highest) else max(0.0, highest), float(rises.max() - rises.min())


def class_flatness(reference: Losses, perturbed: Losses, labels: NDArray[np.integer]) -> dict[int, float]:
    """Average-case flatness of each class that has images.

    Parameters
    ----------
    reference
        Shape (n,).
    perturbed
        Shape (T, n).
    labels
        Shape (n,).
    """
    rise = np.asarray(perturbed, dtype=np.float64).mean(axis=0) - np.asarray(reference, dtype=np.float64)
    return {int(label): float(rise[labels == label].mean()) for label in np.unique(labels)}


def _means(losses: Losses) -> NDArray[np.float64]:
    means: NDArray[np.float64] = np.asarray(losses, dtype=np.float64).mean(axis=1)
    return means


@score(
    lens="flatness",
    name="average_flatness",
    title="Average-case flatness",
    formula=f"mean_t RLoss(w + ν_t) − RLoss(w), ‖ν_t^(l)‖₂ = 0.5 ‖w^(l)‖₂ in every layer; {ROBUST_LOSS}",
    reference="Stutz2021 eqs 2, 3",
    unit="nats",
    higher_is_better=False,
    chance="0 for constant logits",
    pitfalls="A model whose robust loss is already huge can only fall: compare it beside the robust loss.",
)
def _average(losses: PerturbedLosses) -> float:
    """How much the robust loss rises under random weight perturbations of half the weights' size."""
    return average_flatness(losses.reference, losses.average)[0]


@score(
    lens="flatness",
    name="worst_flatness",
    title="Worst-case flatness",
    formula=f"max_ν RLoss(w + ν) − RLoss(w), ‖ν^(l)‖₂ ≤ 0.00075 ‖w^(l)‖₂ in every layer; {ROBUST_LOSS}",
    reference="Stutz2021 eqs 4, 5",
    bounds=(0.0, None),
    unit="nats",
    higher_is_better=False,
    chance="0 for constant logits",
    pitfalls="The largest of a few restarts, so a lower bound; ν = 0 is allowed, so that it is never negative.",
    applies=lambda losses: losses.worst is not None,
)
def _worst(losses: PerturbedLosses) -> float:
    """How much the robust loss rises when an attack moves weights and images together."""
    return math.nan if losses.worst is None else worst_flatness(losses.reference, losses.worst)[0]


@score(
    lens="flatness",
    name="flatness_reference_loss",
    title="Robust loss at the weights",
    formula=ROBUST_LOSS,
    reference="Stutz2021 §3",
    bounds=(0.0, None),
    unit="nats",
    higher_is_better=False,
    pitfalls="One restart, where the robustness lens takes several: it lies a little lower.",
    auxiliary=True,
)
def _reference(losses: PerturbedLosses) -> float:
    """Robust loss that flatness is measured against: as many restarts and the same random starts."""
    return mean_loss(losses.reference)


@score(
    lens="flatness",
    name="average_flatness_error",
    title="Average-case flatness, standard error",
    formula="sd_t(RLoss(w + ν_t)) / √T",
    reference="filterlens",
    bounds=(0.0, None),
    unit="nats",
    pitfalls="Of the perturbations only, not of the images.",
    auxiliary=True,
)
def _average_error(losses: PerturbedLosses) -> float:
    """Average-case flatness's standard error over the random perturbations."""
    return average_flatness(losses.reference, losses.average)[1]


@score(
    lens="flatness",
    name="worst_flatness_spread",
    title="Worst-case flatness, spread of restarts",
    formula="max_r RLoss_r − min_r RLoss_r",
    reference="filterlens",
    bounds=(0.0, None),
    unit="nats",
    pitfalls="Large means that more restarts would find more.",
    auxiliary=True,
    applies=lambda losses: losses.worst is not None,
)
def _worst_spread(losses: PerturbedLosses) -> float:
    """Largest less smallest robust loss over the restarts of the joint attack."""
    return math.nan if losses.worst is None else worst_flatness(losses.reference, losses.worst)[1]


@score(
    lens="flatness",
    name="average_flatness_images_error",
    title="Average-case flatness, standard error over images",
    formula="sd_i(mean_t loss_i(w + ν_t) − loss_i(w)) / √n",
    reference="filterlens",
    bounds=(0.0, None),
    unit="nats",
    pitfalls="Of the images only: the perturbations are taken as they are.",
    auxiliary=True,
)
def _images_error(losses: PerturbedLosses) -> float:
    """Average-case flatness's standard error over the images."""
    rise = losses.average.astype(np.float64).mean(axis=0) - losses.reference
    return float(rise.std(ddof=1) / math.sqrt(len(rise))) if len(rise) > 1 else math.nan


@score(
    lens="flatness",
    name="average_robust_accuracy",
    title="Robust accuracy under random weights",
    formula="mean_t mean_i [argmax f_{w + ν_t}(x̃_i) = y_i]",
    reference="filterlens",
    bounds=(0.0, 1.0),
    unit="share",
    higher_is_better=True,
    pitfalls=(
        "Of the example with the highest loss, which for a few images is classified correctly though another is not."
    ),
    auxiliary=True,
)
def _average_accuracy(losses: PerturbedLosses) -> float:
    """Fraction of images classified correctly under PGD, mean over the random weight perturbations."""
    return float(losses.average_correct.mean())


@score(
    lens="flatness",
    name="flatness_reference_loss_float32",
    title="Robust loss at the weights (float32)",
    summary="The same in float32: the loss of precision from bfloat16 is the difference.",
    formula=ROBUST_LOSS,
    reference="filterlens",
    bounds=(0.0, None),
    unit="nats",
    pitfalls="Only measured under bf16.",
    auxiliary=True,
    applies=lambda losses: losses.reference_float32 is not None,
)
def _reference_float32(losses: PerturbedLosses) -> float:
    return math.nan if losses.reference_float32 is None else mean_loss(losses.reference_float32)
