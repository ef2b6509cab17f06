"""Figures of the robustness lens: confidence of robust and normal models, clean and attacked (Grabinski2022Conf)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.lenses.robustness.first_stage_figure import draw_first_stage
from filterlens.lenses.robustness.metrics import confidence, reliability
from filterlens.report.comparison import sides_of_pairs
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.marks import MARKS, mark_handles
from filterlens.report.style import current_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

__all__ = ["FIGURES", "draw_confidence", "draw_reliability"]

_KINDS = (("clean", "logits_clean"), ("attacked", "logits_attacked"))
_SIDES = ("normal", "robust", "unpaired")
_BINS = 15


def draw_reliability(run: RunData) -> Drawing | None:
    """Draw accuracy against confidence, clean and attacked: models of a side pooled, each model as much as another."""
    rows = []
    for model_id, side, kind, logits, labels in _logits(run):
        n, sure, right = reliability(logits, labels, bins=_BINS).T
        rows += [
            {"model_id": model_id, "side": side, "images": kind, "bin": b, "n": n[b], "share": n[b] / n.sum()}
            | {"confidence": sure[b], "accuracy": right[b]}
            for b in range(_BINS)
        ]
    if not rows:
        return None
    data = _pooled(pd.DataFrame(rows))
    figure, axes = _panels()
    for axis, (kind, _) in zip(axes, _KINDS, strict=True):
        axis.plot([0, 1], [0, 1], color="black", linewidth=0.6, linestyle=":")
        for side in _SIDES:
            part = data[(data["images"] == kind) & (data["side"] == side)]
            mark = MARKS[side]
            axis.plot(part["confidence"], part["accuracy"], color=mark.colour, linestyle=mark.line)
            axis.scatter(
                part["confidence"], part["accuracy"], s=(4 + 60 * part["share"]) * current_style().lines**2,
                color=mark.colour, marker=mark.marker, linewidths=0, zorder=3, clip_on=False,
            )  # fmt: skip
        axis.set(title=kind, xlabel="confidence", xlim=(0, 1), ylim=(-0.03, 1.03), aspect="equal")
    axes[0].set_ylabel("accuracy")
    axes[0].legend(handles=mark_handles(set(data["side"])), loc="upper left")
    caption = (
        f"Reliability: accuracy of the images in each of {_BINS} equal bins of confidence; on the dotted line a model "
        "is as often right as it is sure, below it over-confident. Size of a mark: share of images in the bin. "
        f"{_models(rows)}."
    )
    return Drawing(figure, data, caption)


def draw_confidence(run: RunData) -> Drawing | None:
    """Draw histograms of the predicted class's probability, right and wrong images apart."""
    edges = np.linspace(0, 1, 21)
    rows = []
    for model_id, side, kind, logits, labels in _logits(run):
        sure, right = confidence(logits), logits.argmax(axis=1) == labels
        for outcome, chosen in (("right", right), ("wrong", ~right)):
            counts, _ = np.histogram(np.clip(sure[chosen], 0, 1), edges)
            rows += [
                {"model_id": model_id, "side": side, "images": kind, "prediction": outcome}
                | {"low": edges[b], "high": edges[b + 1], "share": counts[b] / len(labels)}
                for b in range(len(counts))
            ]
    if not rows:
        return None
    keys = ["side", "images", "prediction", "low", "high"]
    data = pd.DataFrame(rows).groupby(keys, sort=False)["share"].mean().reset_index()
    figure = new_figure(3.2)
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    for i, outcome in enumerate(("right", "wrong")):
        for j, (kind, _) in enumerate(_KINDS):
            axis = axes[i, j]
            for side in _SIDES:
                mark = MARKS[side]
                part = data[(data["side"] == side) & (data["images"] == kind) & (data["prediction"] == outcome)]
                if len(part):
                    axis.stairs(part["share"], edges, color=mark.colour, fill=True, alpha=0.3)
                    axis.stairs(part["share"], edges, color=mark.colour, linestyle=mark.line)
            axis.set_xlim(0, 1)
            if i == 0:
                axis.set_title(kind)
            if j == 0:
                axis.set_ylabel(f"share of images,\npredicted {outcome}")
    for axis in axes[-1]:
        axis.set_xlabel("confidence")
    axes[0, 0].legend(handles=mark_handles(set(data["side"]), "line"), loc="upper left")
    caption = (
        "Confidence of predictions that are right (above) and wrong (below), on clean and on attacked images; the bars "
        f"of one side and column add up to 1 over both rows. {_models(rows)}."
    )
    return Drawing(figure, data, caption)


def _logits(run: RunData) -> Iterator[tuple[str, str, str, NDArray[np.floating], NDArray[np.integer]]]:
    """Model, side, clean or attacked, logits and labels of every model; one without a partner is on no side."""
    scored = set(run.lens_scores("robustness")["model_id"])
    sides = sides_of_pairs(run.models[run.models.index.isin(scored)])
    for entry in run.catalog:
        if entry.model_id not in scored:
            continue
        with run.dump(entry.model_id) as dump:
            group = dump.lens("robustness")
            labels = group.read("labels")
            for kind, name in _KINDS:
                yield entry.model_id, sides[entry.model_id], kind, group.read(name), labels


def _pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean of each bin over the models of a side, weighted by their share of images in it."""
    filled = rows[rows["n"] > 0]
    weighted = filled.assign(
        confidence=filled["confidence"] * filled["share"], accuracy=filled["accuracy"] * filled["share"]
    )
    keys = ["images", "side", "bin"]
    sums = weighted.groupby(keys, sort=False)[["share", "confidence", "accuracy"]].sum()
    models = rows.groupby(["images", "side"])["model_id"].nunique().rename("models")
    pooled = sums.assign(confidence=sums["confidence"] / sums["share"], accuracy=sums["accuracy"] / sums["share"])
    data = pooled.reset_index().join(models, on=["images", "side"])
    return data.assign(share=data["share"] / data["models"]).sort_values(keys).reset_index(drop=True)


def _panels() -> tuple[MatplotlibFigure, list[Axes]]:
    figure = new_figure(2.7, width=0.75)
    return figure, list(figure.subplots(1, 2, sharey=True))


def _models(rows: list[dict[str, object]]) -> str:
    sides = pd.DataFrame(rows).drop_duplicates("model_id")["side"].value_counts()
    return "Models: " + ", ".join(f"{sides[side]} {side}" for side in ("robust", "normal", "unpaired") if side in sides)


FIGURES: tuple[Figure, ...] = (
    Figure("robustness_reliability", "robustness", "Reliability, clean and attacked", draw_reliability),
    Figure("robustness_confidence", "robustness", "Confidence of robust and normal models", draw_confidence),
    Figure("robustness_first_stage", "robustness", "The first stage under attack", draw_first_stage),
)
