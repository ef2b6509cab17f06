"""Figures of the corruption lens: accuracy by corruption and by severity, robust beside normal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from filterlens.lenses.corruption.benchmark import CORRUPTIONS
from filterlens.report.comparison import sides_of_pairs
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.marks import MARKS, mark_handles
from filterlens.report.style import current_style, new_figure

__all__ = ["FIGURES", "draw_corruptions"]

_SIDES = (("normal", -0.15), ("robust", 0.15), ("unpaired", 0.0))


def draw_corruptions(run: RunData) -> Drawing | None:
    """Draw accuracy under each corruption (left) and at each severity (right), clean accuracy at severity 0."""
    data = _accuracies(run)
    if data.empty:
        return None
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2.4, 1))
    names = [name for name in CORRUPTIONS if (data["under"] == name).any()]
    scale = current_style().lines
    for side, offset in _SIDES:
        mark = MARKS[side]
        part = data[data["side"] == side]
        for axis, order, places in ((left, names, np.arange(len(names)) + offset), (right, list(range(6)), range(6))):
            groups = part[part["under"].isin(order)].groupby("under")["accuracy"]
            if not len(groups):
                continue
            means, spread = groups.mean().reindex(order), groups.std().reindex(order).fillna(0)
            axis.errorbar(
                places, means, yerr=spread, color=mark.colour, marker=mark.marker, capsize=1.5 * scale,
                elinewidth=0.6 * scale, linestyle="none" if axis is left else mark.line,
            )  # fmt: skip
    left.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
    left.tick_params(axis="x", rotation=50)
    for label in left.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    left.set(ylabel="accuracy", ylim=(-0.02, 1.02))
    right.set(xlabel="severity (0: clean)", xticks=range(6))
    figure.legend(handles=mark_handles(set(data["side"])), loc="outside upper left", ncols=3)
    counts = data.drop_duplicates("model_id")["side"].value_counts()
    caption = (
        "Accuracy under common corruptions: by corruption, mean over five severities, and by severity, mean over the "
        f"corruptions. Points: mean over models; bars: standard deviation. {'; '.join(_notes(run))}. Models: "
        + ", ".join(f"{counts[side]} {side}" for side in ("robust", "normal", "unpaired") if side in counts)
        + "."
    )
    return Drawing(figure, data, caption)


def _accuracies(run: RunData) -> pd.DataFrame:
    """One row a model and corruption or severity: `model_id`, `side`, `under`, `accuracy`."""
    rows = run.lens_scores("corruption")
    clean = rows[rows["metric"] == "corruption_clean_accuracy"].assign(under=0)
    parts = rows[(rows["metric"] == "corruption_accuracy") & (rows["layer"] != "")]
    under: list[object] = [
        int(str(layer).removeprefix("severity ")) if kind == "severity" else layer
        for layer, kind in zip(parts["layer"], parts["kind"], strict=True)
    ]
    found = pd.concat([clean, parts.assign(under=pd.Series(under, index=parts.index, dtype=object))])
    sides = sides_of_pairs(run.models[run.models.index.isin(found["model_id"])])
    found = found.assign(side=found["model_id"].map(sides), accuracy=found["value"])
    known = found[found["side"].notna() & found["accuracy"].notna()]
    return known[["model_id", "side", "under", "accuracy"]].reset_index(drop=True)


def _notes(run: RunData) -> list[str]:
    return sorted(set(run.lens_scores("corruption")["note"]))[:3]


FIGURES: tuple[Figure, ...] = (
    Figure("corruption_by_type", "corruption", "Accuracy by corruption and severity", draw_corruptions),
)
