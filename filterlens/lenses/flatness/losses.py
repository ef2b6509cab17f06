"""Losses of every example at the weights and at perturbed weights, as the scores of the flatness lens take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROBUST_LOSS", "Hessian", "Losses", "PerturbedLosses", "mean_loss"]

Losses = NDArray[np.floating]

ROBUST_LOSS = "RLoss(w) = mean over images of max_{‖δ‖ ≤ ε} loss(f_w(x + δ), y), found by PGD"


@dataclass(frozen=True, slots=True, eq=False)
class Hessian:
    """Extreme eigenvalues of the robust loss's Hessian, the error of the highest, and estimates of the trace."""

    highest: float
    lowest: float
    error: float
    traces: Losses


@dataclass(frozen=True, slots=True, eq=False)
class PerturbedLosses:
    """One model's robust losses at its weights, shape (n,), and at perturbed weights, shapes (T, n) and (R, n).

    `worst` is None for dumps of before 0.2, whose worst case was measured otherwise than their reference; the others
    where they were not asked for. `train` is of m training images, shape (m,); the clean losses are as the robust ones.
    """

    reference: Losses
    average: Losses
    average_correct: Losses
    worst: Losses | None = None
    reference_float32: Losses | None = None
    hessian: Hessian | None = None
    train: Losses | None = None
    clean: Losses | None = None
    average_clean: Losses | None = None
    worst_clean: Losses | None = None


def mean_loss(losses: Losses) -> float:
    """Mean of losses in float64."""
    return float(np.asarray(losses, dtype=np.float64).mean())
