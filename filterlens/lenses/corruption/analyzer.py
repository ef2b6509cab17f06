"""The corruption lens: from predictions to rows of the score table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.lens import score_rows
from filterlens.lenses.corruption.benchmark import CORRUPTIONS, SEVERITIES
from filterlens.lenses.corruption.scores import CorruptionAccuracy

__all__ = ["analyze"]


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score one model's predictions.

    Parameters
    ----------
    group
        What `filterlens.lenses.corruption.extractor.extract` wrote.

    Returns
    -------
        Rows of the whole model; and `corruption_accuracy` of each corruption (kind `corruption`) and of each severity
        (kind `severity`), which weigh nothing in the model's mean.

    Raises
    ------
    DumpError
        Arrays do not belong together.
    """
    return list(_rows(group))


def _rows(group: DumpGroup) -> Iterator[dict[str, object]]:
    attributes = group.attributes
    names = tuple(str(attributes.get("corruptions")).split(","))
    labels, clean = group.read("labels"), group.read("predictions_clean")
    correct = _correct(group, names)  # (corruptions, 5)
    if clean.shape != labels.shape or not len(labels):
        raise DumpError(
            f"{group.path}: predictions_clean of shape {clean.shape} does not belong to labels; extract again"
        )
    found = CorruptionAccuracy(
        clean=float((clean == labels).mean()),
        by_corruption=dict(zip(names, correct, strict=True)),
        imagenet=bool(attributes.get("imagenet")),
    )
    note = f"{attributes.get('images')} images, {attributes.get('source')}"
    for row in score_rows("corruption", found):
        yield {**row, "note": note}
    parts = [("corruption", name, float(accuracy.mean())) for name, accuracy in found.by_corruption.items()]
    parts += [("severity", f"severity {s + 1}", float(correct[:, s].mean())) for s in range(SEVERITIES)]
    for kind, name, value in parts:
        facts = {"layer": name, "kind": kind, "weight": 0.0, "note": note}
        yield {"metric": "corruption_accuracy", "value": value, **facts}


def _correct(group: DumpGroup, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Accuracy under each corruption and severity, shape (corruptions, 5)."""
    labels, predictions = group.read("labels_corrupted"), group.read("predictions")
    if len(set(names)) != len(names) or not set(names) <= set(CORRUPTIONS):
        raise DumpError(f"{group.path}: {', '.join(names)[:80]!r} are no corruptions; extract again")
    if predictions.shape != (len(names), SEVERITIES, len(labels)) or not len(labels):
        raise DumpError(
            f"{group.path}: predictions of shape {predictions.shape} do not belong to {len(names)} corruptions and "
            f"{len(labels)} labels; extract again"
        )
    return np.asarray((predictions == labels).mean(axis=2), dtype=np.float64)
