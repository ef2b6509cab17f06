"""Scores by depth, robust beside normal: the first convolution apart, then ten deciles of relative depth.

As in Gavrikov2022Lens, figures 3 to 5; for every score that is declared with `by_depth`.
"""

from __future__ import annotations

from functools import partial
from textwrap import fill
from typing import TYPE_CHECKING

import pandas as pd

from filterlens.report.comparison import main_scores
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.style import NORMAL, PAGE_WIDTH, ROBUST, settle_constant
from filterlens.score import DEPTH_GROUPS, depth_group, model_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["by_depth", "depth_figure"]

SIDES = (("normal", False, NORMAL, -0.19), ("robust", True, ROBUST, 0.19))

_LABEL = 18  # characters of a line that is no longer than a row is high
_MEAN = {
    "marker": "D",
    "markersize": 1.8,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.4,
}


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

    A normal model that several robust ones share enters once; a model without known robustness stays out.
    """
    models = run.models
    scores = run.sized_scores
    rows = by_depth(scores[scores["metric"].isin(metrics)])
    rows["robust"] = rows["model_id"].map(models["robust"])
    rows["dataset"] = rows["model_id"].map(models["dataset"]).replace("", "unknown")
    rows = rows[rows["robust"].isin([True, False])]
    side = rows["robust"].map({True: "robust", False: "normal"})
    return rows.assign(side=side, depth=[DEPTH_GROUPS[int(i)] for i in rows["group"]])[
        ["dataset", "metric", "side", "depth", "group", "model_id", "value"]
    ].reset_index(drop=True)


def _draw(run: RunData, *, lens: str) -> Drawing | None:
    """Draw box plots: rows are scores, columns data sets, x the depth group."""
    shown = {score.name: score for score in main_scores(run) if score.lens == lens and score.by_depth}
    data = _values(run, list(shown))
    if data.empty:
        return None
    from matplotlib.figure import Figure as MatplotlibFigure

    datasets = list(pd.unique(data["dataset"]))
    metrics = [metric for metric in shown if (data["metric"] == metric).any()]
    figure = MatplotlibFigure(figsize=(PAGE_WIDTH, 0.5 + 1.45 * len(metrics)))
    axes = figure.subplots(len(metrics), len(datasets), sharex=True, sharey="row", squeeze=False)
    for i, metric in enumerate(metrics):
        for j, dataset in enumerate(datasets):
            part = data[(data["metric"] == metric) & (data["dataset"] == dataset)]
            _boxes(axes[i, j], part)
            if i == 0:
                axes[i, j].set_title(dataset)
        score = shown[metric]
        axes[i, 0].set_ylabel(fill(f"mean {score.title.lower()}", _LABEL))
        settle_constant(axes[i, 0], data.loc[data["metric"] == metric, "value"], score.bounds)
    for axis in axes[-1]:
        axis.set_xticks(range(len(DEPTH_GROUPS)), DEPTH_GROUPS, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_xlabel("relative depth of the layer")
    _legend(axes[0, -1])
    return Drawing(figure, data.drop(columns="group"), _caption(data))


def _boxes(axis: Axes, part: pd.DataFrame) -> None:
    for side, _, colour, offset in SIDES:
        groups = part[part["side"] == side].groupby("group")["value"]
        places = [int(str(group)) for group, _ in groups]
        if not places:
            continue
        thin = {"color": "black", "linewidth": 0.5}
        axis.boxplot(
            [values.to_numpy() for _, values in groups],
            positions=[place + offset for place in places],
            widths=0.32,
            patch_artist=True,
            showmeans=True,
            manage_ticks=False,
            boxprops={"facecolor": colour, "edgecolor": "black", "linewidth": 0.4},
            medianprops={"color": "black", "linewidth": 0.8},
            whiskerprops=thin,
            capprops=thin,
            flierprops={"marker": ".", "markersize": 2, "markerfacecolor": colour, "markeredgecolor": colour},
            meanprops=_MEAN,
        )
    axis.axvline(0.5, color="black", linewidth=0.4, linestyle=":")
    axis.set_xlim(-0.6, len(DEPTH_GROUPS) - 0.4)


def _legend(axis: Axes) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, edgecolor="black", linewidth=0.4, label=side) for side, _, colour, _ in SIDES]
    axis.legend(handles=handles, loc="best")


def _caption(data: pd.DataFrame) -> str:
    counts = data.drop_duplicates("model_id").groupby(["dataset", "side"], sort=False).size().reset_index(name="n")
    n = "; ".join(f"{row.dataset}: {row.n} {row.side}" for row in counts.itertuples())
    return (
        "Scores of each model by relative depth of the layer, the first one apart (0). Boxes: quartiles "
        "and median; diamonds: mean; whiskers: 1.5 interquartile ranges. Layers are weighted as in a model's mean, "
        f"each model enters once. Models: {n}."
    )
