"""Accuracy, loss, confidence and calibration from logits, clean and attacked."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "accuracy",
    "confidence",
    "cross_entropy",
    "expected_calibration_error",
    "overconfidence",
    "reliability",
]

Logits = NDArray[np.floating]
Labels = NDArray[np.integer]


def accuracy(logits: Logits, labels: Labels) -> float:
    """Fraction of examples classified correctly.

    Parameters
    ----------
    logits
        Shape (n, classes).
    labels
        Shape (n,).

    Returns
    -------
        In [0, 1]; NaN without examples. Logits that are not finite count as wrong.

    Examples
    --------
    >>> accuracy(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([0, 0]))
    0.5
    """
    return float(_correct(logits, labels).mean()) if len(labels) else math.nan


def cross_entropy(logits: Logits, labels: Labels) -> NDArray[np.float64]:
    """Cross-entropy of each example in nats.

    Parameters
    ----------
    logits
        Shape (n, classes).
    labels
        Shape (n,).

    Returns
    -------
        −log softmax(logits)_y, shape (n,).

    Examples
    --------
    >>> cross_entropy(np.zeros((1, 2)), np.array([1])).round(4).tolist()
    [0.6931]
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(axis=1))
    losses: NDArray[np.float64] = normaliser - shifted[np.arange(len(labels)), labels]
    return losses


def confidence(logits: Logits) -> NDArray[np.float64]:
    """Probability of the predicted class, shape (n,), of logits (n, classes)."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    highest: NDArray[np.float64] = 1 / np.exp(shifted).sum(axis=1)
    return highest


def overconfidence(logits: Logits, labels: Labels) -> float:
    """Mean confidence less accuracy, in [−1, 1]; Grabinski2022Conf, section 3."""
    return float(confidence(logits).mean()) - accuracy(logits, labels) if len(labels) else math.nan


def reliability(logits: Logits, labels: Labels, *, bins: int = 15) -> NDArray[np.float64]:
    """Confidence and accuracy in equal bins of confidence.

    Parameters
    ----------
    logits
        Shape (n, classes).
    labels
        Shape (n,).
    bins
        Equal parts of [0, 1], closed on the right.

    Returns
    -------
        Shape (bins, 3): examples, mean confidence, accuracy; NaN for the latter two in an empty bin.
    """
    sure, right = confidence(logits), _correct(logits, labels)
    place = np.clip(np.ceil(np.nan_to_num(sure) * bins).astype(np.int64) - 1, 0, bins - 1)
    n = np.bincount(place, minlength=bins).astype(np.float64)
    divisor = np.where(n > 0, n, math.nan)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (sure, right.astype(np.float64))]
    return np.stack([n, *(total / divisor for total in sums)], axis=1)


def expected_calibration_error(logits: Logits, labels: Labels, *, bins: int = 15) -> float:
    """Mean distance of accuracy from confidence over equal bins, weighted by examples.

    Parameters
    ----------
    logits
        Shape (n, classes).
    labels
        Shape (n,).
    bins
        As in `reliability`.

    Returns
    -------
        In [0, 1]; NaN without examples.

    Examples
    --------
    >>> logits = np.log(np.array([[0.8, 0.2], [0.8, 0.2]]))
    >>> round(expected_calibration_error(logits, np.array([0, 1])), 4)
    0.3
    """
    if not len(labels):
        return math.nan
    n, sure, right = reliability(logits, labels, bins=bins).T
    filled = n > 0
    return float((n[filled] * np.abs(right[filled] - sure[filled])).sum() / n.sum())


def _correct(logits: Logits, labels: Labels) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = (np.argmax(logits, axis=1) == labels) & np.isfinite(logits).all(axis=1)
    return right
