"""Scores by depth, robust beside normal: the first convolution apart, then ten deciles of relative depth.

As in Gavrikov2022Lens, figures 3 to 5; for every score that is declared with `by_depth`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from filterlens.report.comparison import main_scores, sides_of_pairs
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.marks import MARKS, MIN_BOX, box_or_points, mark_handles
from filterlens.report.style import new_figure, row_label, settle_constant
from filterlens.score import DEPTH_GROUPS, depth_group, model_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DEPTH_AXIS", "DEPTH_LABELS", "by_depth", "depth_figure"]

_SIDES = ("normal", "robust", "unpaired")
#: of `DEPTH_GROUPS`, as an axis has room for
DEPTH_LABELS = ("first", *(f"≤ {(i + 1) / 10:g}" for i in range(10)))
DEPTH_AXIS = "relative depth of the convolution (first: the first one)"


def by_depth(scores: pd.DataFrame) -> pd.DataFrame:
    """Weighted mean of every metric over each depth group of each model.

    Parameters
    ----------
    scores
        The tidy score table.

    Returns
    -------
        Columns `model_id`, `metric`, `group` (index into `DEPTH_GROUPS`), `value`; only groups with a value.
    """
    group = depth_group(scores["conv_depth"], scores["conv_depth_norm"])
    columns = ["model_id", "metric", "group", "value"]
    parts = []
    for index in range(len(DEPTH_GROUPS)):
        part = scores[group == index]
        if len(part):
            wide = model_scores(part).rename_axis(columns="metric").reset_index()
            parts.append(wide.melt(id_vars="model_id", value_name="value").assign(group=index))
    if not parts:
        return pd.DataFrame(columns=columns)
    long: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return long[long["value"].notna()][columns].reset_index(drop=True)


def depth_figure(lens: str) -> Figure:
    """Return the figure of one lens's scores against depth: of those that are declared with `by_depth`."""
    return Figure(f"{lens}_depth", lens, "Scores by depth", partial(_draw, lens=lens))


def _values(run: RunData, metrics: list[str]) -> pd.DataFrame:
    """One row a model, metric and depth group, each model once: `dataset`, `side`, `metric`, `depth`, `value`.

    A normal model that several robust ones share enters once; a model without a partner is on neither side. Beside
    pairs unpaired checkpoints of a training are left out: they are no draws of a group of models.
    """
    models = run.models
    scores = run.sized_scores
    rows = by_depth(scores[scores["metric"].isin(metrics)])
    rows["dataset"] = rows["model_id"].map(models["dataset"]).replace("", "unknown")
    side = rows["model_id"].map(sides_of_pairs(models[models.index.isin(rows["model_id"])]))
    rows = rows.assign(side=side, depth=[DEPTH_GROUPS[int(i)] for i in rows["group"]])
    unpaired = rows["side"] == "unpaired"
    if "epoch" in models and not unpaired.all():
        rows = rows[~(unpaired & rows["model_id"].map(models["epoch"]).notna())]
    return rows[["dataset", "metric", "side", "depth", "group", "model_id", "value"]].reset_index(drop=True)


def _draw(run: RunData, *, lens: str) -> Drawing | None:
    """Draw box plots: rows are scores, columns data sets, x the depth group."""
    shown = {score.name: score for score in main_scores(run) if score.lens == lens and score.by_depth}
    data = _values(run, list(shown))
    if data.empty:
        return None
    datasets = list(pd.unique(data["dataset"]))
    metrics = [metric for metric in shown if (data["metric"] == metric).any()]
    figure = new_figure(0.9 + 1.2 * len(metrics))
    row_height = (float(figure.get_figheight()) - 0.9) / len(metrics)
    axes = figure.subplots(len(metrics), len(datasets), sharex=True, sharey="row", squeeze=False)
    for i, metric in enumerate(metrics):
        for j, dataset in enumerate(datasets):
            part = data[(data["metric"] == metric) & (data["dataset"] == dataset)]
            _boxes(axes[i, j], part)
            if i == 0:
                axes[i, j].set_title(dataset)
        score = shown[metric]
        row_label(axes[i, 0], f"mean {score.title.lower()}", row_height)
        settle_constant(axes[i, 0], data.loc[data["metric"] == metric, "value"], score.bounds)
    for axis in axes[-1]:
        crowded = len(datasets) > 1
        axis.set_xticks(range(len(DEPTH_GROUPS)), DEPTH_LABELS, rotation=90 if crowded else 0)
        axis.set_xlabel("relative depth" if crowded else DEPTH_AXIS)
    handles = mark_handles(set(data["side"]), "area")
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    epochs = run.models["epoch"].notna().sum() - run.models["epoch"].reindex(data["model_id"].unique()).notna().sum()
    left_out = f" {epochs} checkpoints of trainings, which are in no pair, are left out." if epochs else ""
    return Drawing(figure, data.drop(columns="group"), _caption(data) + left_out)


def _boxes(axis: Axes, part: pd.DataFrame) -> None:
    """Draw a box or points a side and depth group, side by side within the group."""
    present = [side for side in _SIDES if (part["side"] == side).any()]
    width = 0.76 / max(2, len(present))
    for number, side in enumerate(present):
        offset = (number - (len(present) - 1) / 2) * width
        for group, values in part[part["side"] == side].groupby("group")["value"]:
            box_or_points(axis, values, int(str(group)) + offset, MARKS[side], width=0.84 * width)
    axis.axvline(0.5, color="black", linewidth=0.4, linestyle=":")
    axis.set_xlim(-0.6, len(DEPTH_GROUPS) - 0.4)


def _caption(data: pd.DataFrame) -> str:
    counts = data.drop_duplicates("model_id").groupby(["dataset", "side"], sort=False).size().reset_index(name="n")
    n = "; ".join(f"{row.dataset}: {row.n} {row.side}" for row in counts.itertuples())
    return (
        "Scores of each model by relative depth of the layer, the first one apart. Boxes: quartiles "
        "and median; white diamonds: mean; whiskers: 1.5 interquartile ranges; fewer than "
        f"{MIN_BOX} models are points. Layers are weighted as in a model's mean, each model enters once. Models: {n}."
    )
