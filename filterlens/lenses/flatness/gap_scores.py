"""Robust generalisation gap: robust loss on test images less that on training images [Stutz2021]_."""

from __future__ import annotations

import math

import numpy as np

from filterlens.lenses.flatness.losses import Losses, PerturbedLosses, mean_loss
from filterlens.score import score

__all__ = ["robust_gap"]


def robust_gap(test: Losses, train: Losses) -> tuple[float, float]:
    """Robust loss on test images less that on training images, both under the same attack.

    Parameters
    ----------
    test, train
        Robust losses at the weights, shapes (n,) and (m,).

    Returns
    -------
        Gap in nats, and its standard error over images, √(sd² / n + sd² / m) (NaN where either is one image).

    Examples
    --------
    >>> robust_gap(np.array([2.0, 4.0]), np.array([1.0, 1.0]))
    (2.0, 1.0)
    """
    parts = [np.asarray(losses, dtype=np.float64) for losses in (test, train)]
    error = math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)) if min(map(len, parts)) > 1 else math.nan
    return float(parts[0].mean() - parts[1].mean()), error


def _has_train(losses: PerturbedLosses) -> bool:
    return losses.train is not None


@score(
    lens="flatness",
    name="robust_gap",
    title="Robust generalisation gap",
    formula="RLoss(w) on test images − RLoss(w) on training images, the same attack and restarts on both",
    reference="Stutz2021 §3",
    unit="nats",
    higher_is_better=False,
    chance="0 for untrained weights",
    pitfalls=(
        "Says something only of images that the model was trained on; and a model that fits neither has no gap: read "
        "it beside the robust loss."
    ),
    applies=_has_train,
)
def _gap(losses: PerturbedLosses) -> float:
    """How much higher the robust loss is on test images than on images that the model was trained on."""
    return math.nan if losses.train is None else robust_gap(losses.reference, losses.train)[0]


@score(
    lens="flatness",
    name="robust_gap_error",
    title="Robust generalisation gap, standard error",
    formula="√(sd² / n + sd² / m) over n test and m training images",
    reference="filterlens",
    bounds=(0.0, None),
    unit="nats",
    pitfalls="Of the images only: another training of the same kind differs by more.",
    auxiliary=True,
    applies=_has_train,
)
def _gap_error(losses: PerturbedLosses) -> float:
    """How far the robust generalisation gap may be off because of the images: its standard error."""
    return math.nan if losses.train is None else robust_gap(losses.reference, losses.train)[1]


@score(
    lens="flatness",
    name="train_robust_loss",
    title="Robust loss on training images",
    formula="RLoss(w) on images that the model was trained on",
    reference="Stutz2021 §3",
    bounds=(0.0, None),
    unit="nats",
    pitfalls="Of the images as they are, without the training's augmentation.",
    auxiliary=True,
    applies=_has_train,
)
def _train(losses: PerturbedLosses) -> float:
    """Robust loss on training images, by the attack of the reference."""
    return math.nan if losses.train is None else mean_loss(losses.train)
