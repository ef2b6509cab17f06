"""Flatness of the robust loss from the losses of every example [Stutz2021]_."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError

__all__ = ["analyze", "average_flatness", "class_flatness", "worst_flatness"]

Losses = NDArray[np.floating]


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
    rises = _means(perturbed) - _mean(reference)
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
    rises = _means(perturbed) - _mean(reference)
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


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score one model's losses.

    Parameters
    ----------
    group
        What `filterlens.extractors.flatness.extract` wrote.

    Returns
    -------
        Rows of the score table: the model's, and average-case flatness of each class (kind `class`, weight 0).

    Raises
    ------
    DumpError
        Losses do not belong to one set of images.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # a loss that is not finite ends as a score that is NaN
        return _rows(group)


def _rows(group: DumpGroup) -> list[dict[str, object]]:
    labels = group.read("labels")
    reference = _read(group, "reference_loss", len(labels))
    average, worst = (_read(group, f"{name}_loss", len(labels)) for name in ("average", "worst"))
    mean, error = average_flatness(reference, average)
    highest, spread = worst_flatness(reference, worst)
    rise = average.astype(np.float64).mean(axis=0) - reference
    values = {
        "average_flatness": mean,
        "worst_flatness": highest,
        "flatness_reference_loss": _mean(reference),
        "average_flatness_error": error,
        "worst_flatness_spread": spread,
        "average_flatness_images_error": float(rise.std(ddof=1) / math.sqrt(len(rise))) if len(rise) > 1 else math.nan,
        "average_robust_accuracy": float(_read(group, "average_correct", len(labels)).mean()),
    }
    if "reference_loss_float32" in group:
        values["flatness_reference_loss_float32"] = _mean(_read(group, "reference_loss_float32", len(labels)))
    note, broken = _note(group), "a loss under perturbed weights is not finite; "
    rows: list[dict[str, object]] = [
        {"metric": metric, "value": value, "note": note}
        if math.isfinite(value) or len(average) == 1
        else {"metric": metric, "value": math.nan, "note": broken + note}
        for metric, value in values.items()
    ]
    return rows + [
        {
            "metric": "average_flatness",
            "layer": f"class {label}",
            "kind": "class",
            "value": value if math.isfinite(value) else math.nan,
        }
        | {"weight": 0.0}
        for label, value in class_flatness(reference, average, labels).items()
    ]


def _read(group: DumpGroup, name: str, n: int) -> Losses:
    losses = group.read(name)
    if losses.ndim not in {1, 2} or losses.shape[-1] != n or losses.size == 0:
        raise DumpError(f"{group.path}: {name} of shape {losses.shape} does not belong to {n} labels; extract again")
    return losses


def _mean(losses: Losses) -> float:
    return float(np.asarray(losses, dtype=np.float64).mean())


def _means(losses: Losses) -> NDArray[np.float64]:
    means: NDArray[np.float64] = np.asarray(losses, dtype=np.float64).mean(axis=1)
    return means


def _note(group: DumpGroup) -> str:
    """Under which protocol the numbers stand."""
    found = group.attributes
    parts = [
        f"{found.get('norm', 'norm')} ε = {float(found.get('eps', math.nan)):.5g}",
        f"PGD-{found.get('steps', '?')}",
        f"T = {found.get('average', '?')}",
        f"R = {found.get('worst', '?')}",
        f"{found.get('images', '?')} images",
    ]
    parts += [name.replace("_", " ") for name in ("fast", "as_published", "bf16") if found.get(name)]
    return ", ".join(parts)
