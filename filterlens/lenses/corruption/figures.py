"""Figures of the corruption lens: accuracy by corruption and by severity, robust beside normal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from filterlens.lenses.corruption.severities import CORRUPTIONS
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.style import NORMAL, PAGE_WIDTH, ROBUST

__all__ = ["FIGURES", "draw_corruptions"]

_SIDES = (("normal", NORMAL, "s", "--", -0.15), ("robust", ROBUST, "o", "-", 0.15))


def draw_corruptions(run: RunData) -> Drawing | None:
    """Draw accuracy under each corruption (left) and at each severity (right), clean accuracy at severity 0."""
    data = _accuracies(run)
    if data.empty:
        return None
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(PAGE_WIDTH, 2.9))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2.4, 1))
    names = [name for name in CORRUPTIONS if (data["under"] == name).any()]
    for side, colour, marker, line, offset in _SIDES:
        part = data[data["side"] == side]
        for axis, order, places in ((left, names, np.arange(len(names)) + offset), (right, list(range(6)), range(6))):
            groups = part[part["under"].isin(order)].groupby("under")["accuracy"]
            if not len(groups):
                continue
            means, spread = groups.mean().reindex(order), groups.std().reindex(order).fillna(0)
            axis.errorbar(
                places, means, yerr=spread, color=colour, marker=marker, markersize=3.5, linewidth=1.2, capsize=1.5,
                elinewidth=0.6, linestyle="none" if axis is left else line, label=side,
            )  # fmt: skip
    left.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
    left.tick_params(axis="x", rotation=50)
    for label in left.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    left.set(ylabel="accuracy", ylim=(-0.02, 1.02))
    right.set(xlabel="severity (0: clean)", xticks=range(6))
    right.legend(loc="best")
    counts = data.drop_duplicates("model_id")["side"].value_counts()
    caption = (
        "Accuracy under common corruptions: by corruption, mean over five severities, and by severity, mean over the "
        f"corruptions. Points: mean over models; bars: standard deviation. {'; '.join(_notes(run))}. Models: "
        + ", ".join(f"{counts[side]} {side}" for side in ("robust", "normal") if side in counts)
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
    sides = run.models["robust"].map({True: "robust", False: "normal"})
    found = found.assign(side=found["model_id"].map(sides), accuracy=found["value"])
    known = found[found["side"].notna() & found["accuracy"].notna()]
    return known[["model_id", "side", "under", "accuracy"]].reset_index(drop=True)


def _notes(run: RunData) -> list[str]:
    return sorted(set(run.lens_scores("corruption")["note"]))[:3]


FIGURES: tuple[Figure, ...] = (
    Figure("corruption_by_type", "corruption", "Accuracy by corruption and severity", draw_corruptions),
)
