"""The flatness lens: from the losses of every example to rows of the score table."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.lens import score_rows
from filterlens.lenses.flatness.losses import Hessian, Losses, PerturbedLosses
from filterlens.lenses.flatness.scores import class_flatness

__all__ = ["analyze"]


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score one model's losses.

    Parameters
    ----------
    group
        What `filterlens.lenses.flatness.extractor.extract` wrote.

    Returns
    -------
        Rows of the score table: the model's, and average-case flatness of each class (kind `class`, weight 0).

    Raises
    ------
    DumpError
        Losses do not belong to one set of images.
    """
    return list(_rows(group))


def _rows(group: DumpGroup) -> Iterator[dict[str, object]]:
    labels = group.read("labels")
    n = len(labels)

    def known(name: str) -> Losses | None:
        return _read(group, name, n) if name in group else None

    losses = PerturbedLosses(
        reference=_read(group, "reference_loss", n),
        average=_read(group, "average_loss", n),
        worst=known("worst_case_loss"),
        average_correct=_read(group, "average_correct", n),
        reference_float32=known("reference_loss_float32"),
        hessian=_hessian(group),
        train=_train(group),
        clean=known("clean_loss"),
        average_clean=known("average_clean_loss"),
        worst_clean=known("worst_case_clean_loss"),
    )
    note = _note(group)
    with np.errstate(invalid="ignore", over="ignore"):  # a loss that is not finite ends as a score that is NaN
        for row in score_rows("flatness", losses):
            value = float(str(row["value"]))
            if math.isfinite(value) or len(losses.average) == 1:
                yield {**row, "note": note}
            else:
                broken = f"a loss under perturbed weights is not finite; {note}"
                yield {**row, "value": math.nan, "note": broken}
        for label, value in class_flatness(losses.reference, losses.average, labels).items():
            finite = value if math.isfinite(value) else math.nan
            yield {
                "metric": "average_flatness",
                "layer": f"class {label}",
                "kind": "class",
                "value": finite,
                "weight": 0.0,
            }


def _read(group: DumpGroup, name: str, n: int) -> Losses:
    losses = group.read(name)
    if losses.ndim not in {1, 2} or losses.shape[-1] != n or losses.size == 0:
        raise DumpError(f"{group.path}: {name} of shape {losses.shape} does not belong to {n} labels; extract again")
    return losses


def _hessian(group: DumpGroup) -> Hessian | None:
    if "hessian_extremes" not in group:
        return None
    extremes, errors, traces = (group.read(f"hessian_{name}") for name in ("extremes", "errors", "traces"))
    if extremes.shape != (2,) or errors.shape != (2,) or traces.ndim != 1 or not traces.size:
        raise DumpError(f"{group.path}: the Hessian's eigenvalues are not two with their errors; extract again")
    return Hessian(float(extremes[0]), float(extremes[1]), float(errors[0]), traces)


def _train(group: DumpGroup) -> Losses | None:
    if "train_loss" not in group:
        return None
    losses = group.read("train_loss")
    if losses.ndim != 1 or not losses.size:
        raise DumpError(f"{group.path}: train_loss is of shape {losses.shape}, not one loss an image; extract again")
    return losses


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
    if "train_images" in found:
        parts.append(f"{found['train_images']} training images of {found.get('train_data', '?')}")
    parts += [name.replace("_", " ") for name in ("fast", "as_published", "bf16") if found.get(name)]
    return ", ".join(parts)
