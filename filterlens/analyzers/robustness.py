"""Accuracy, loss, confidence and calibration from logits, clean and attacked."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError

__all__ = [
    "accuracy",
    "analyze",
    "confidence",
    "cross_entropy",
    "expected_calibration_error",
    "overconfidence",
    "reliability",
    "wilson_interval",
]

Logits = NDArray[np.floating]
Labels = NDArray[np.integer]


def accuracy(logits: Logits, labels: Labels) -> float:
    """Share of examples whose highest logit is that of the label.

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
    """Mean confidence less accuracy, in [−1, 1] [Grabinski2022Conf]_."""
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


def wilson_interval(share: float, n: int, *, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's interval of a share.

    Parameters
    ----------
    share
        Observed, in [0, 1].
    n
        Of how many.
    z
        Normal quantile: 95 % of intervals hold the true share.

    Returns
    -------
        Lower and upper end, in [0, 1]; NaN where n is 0.

    Examples
    --------
    >>> low, high = wilson_interval(0.5, 100)
    >>> round(low, 4), round(high, 4)
    (0.4038, 0.5962)
    """
    if n == 0:
        return math.nan, math.nan
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    divisor = 1 + z * z / n
    return max(0.0, (centre - half) / divisor), min(1.0, (centre + half) / divisor)


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score one model's logits.

    Parameters
    ----------
    group
        What `filterlens.extractors.robustness.extract` wrote.

    Returns
    -------
        Rows of the score table, all of the whole model.

    Raises
    ------
    DumpError
        Logits and labels do not belong together.
    """
    with np.errstate(invalid="ignore"):  # logits that are not finite end as scores that are NaN
        return _rows(group)


def _rows(group: DumpGroup) -> list[dict[str, object]]:
    labels = group.read("labels")
    note = _note(group)
    values = _side(_read(group, "logits_clean", labels), labels, "clean")
    values |= _side(_read(group, "logits_attacked", labels), labels, "attacked")
    if "logits_autoattack" in group:
        values |= _with_interval(
            "robust_accuracy_autoattack", accuracy(_read(group, "logits_autoattack", labels), labels), len(labels)
        )
    if "logits_attacked_float32" in group:
        values["robust_loss_float32"] = float(
            cross_entropy(_read(group, "logits_attacked_float32", labels), labels).mean()
        )
    return [{"metric": metric, "value": value, "note": note} for metric, value in values.items()]


def _side(logits: Logits, labels: Labels, side: Literal["clean", "attacked"]) -> dict[str, float]:
    kind = "clean" if side == "clean" else "robust"
    return _with_interval(f"{kind}_accuracy", accuracy(logits, labels), len(labels)) | {
        f"{kind}_loss": float(cross_entropy(logits, labels).mean()),
        f"confidence_{side}": float(confidence(logits).mean()),
        f"overconfidence_{side}": overconfidence(logits, labels),
        f"ece_{side}": expected_calibration_error(logits, labels),
    }


def _with_interval(name: str, share: float, n: int) -> dict[str, float]:
    low, high = wilson_interval(share, n)
    return {name: share, f"{name}_low": low, f"{name}_high": high}


def _correct(logits: Logits, labels: Labels) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = (np.argmax(logits, axis=1) == labels) & np.isfinite(logits).all(axis=1)
    return right


def _read(group: DumpGroup, name: str, labels: Labels) -> Logits:
    logits = group.read(name)
    if logits.ndim != 2 or len(logits) != len(labels) or not len(labels):
        raise DumpError(
            f"{group.path}: {name} of shape {logits.shape} does not belong to {len(labels)} labels; extract again"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise DumpError(f"{group.path}: labels lie outside the {logits.shape[1]} classes of {name}; extract again")
    return logits


def _note(group: DumpGroup) -> str:
    """Under which attack the numbers stand."""
    found = group.attributes
    parts = [
        f"{found.get('attack', 'attack')}, {found.get('norm', 'norm')} ε = {float(found.get('eps', math.nan)):.5g}",
        f"{found.get('restarts', '?')} restarts",
        f"{found.get('images', '?')} images",
    ]
    parts += [name for name in ("fast", "bf16") if found.get(name)]
    return ", ".join(parts)
