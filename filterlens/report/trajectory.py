"""Scores against the epochs of a training: a thin line a layer, a thick one for the model."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from filterlens.lens import get_score
from filterlens.report.comparison import main_scores
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.style import PAGE_WIDTH, settle_constant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

__all__ = ["trajectory_figure"]

_COLUMNS = 3


def trajectory_figure(lens: str) -> Figure:
    """Return the figure of one lens's scores against epoch; drawn only where the catalog knows epochs."""
    return Figure(f"{lens}_trajectory", lens, "Over training", partial(_draw, lens=lens))


def _draw(run: RunData, *, lens: str) -> Drawing | None:
    data = _curves(run, lens)
    if data.empty or data["epoch"].nunique() < 2:
        return None
    from matplotlib.figure import Figure as MatplotlibFigure

    metrics = list(dict.fromkeys(data["metric"]))
    columns = min(_COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = MatplotlibFigure(figsize=(PAGE_WIDTH, 0.4 + 2.0 * rows))
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place >= len(metrics):
            axis.set_visible(False)
            continue
        _panel(axis, data[data["metric"] == metrics[place]])
        if place + columns >= len(metrics):
            axis.set_xlabel("epoch")
            axis.tick_params(labelbottom=True)
    has_layers = data["layer"].ne("").any()
    if has_layers:
        _colour_bar(figure, axes)
    axes[0, 0].legend(loc="best")
    lines = "Thin lines: layers, from the first (dark) to the last (light); thick: the model. " if has_layers else ""
    epochs = sorted(data["epoch"].unique())
    caption = f"{lines}{len(epochs)} checkpoints of one training, epoch {epochs[0]} to {epochs[-1]}."
    return Drawing(figure, data, caption)


def _curves(run: RunData, lens: str) -> pd.DataFrame:
    epochs = {entry.model_id: entry.epoch for entry in run.catalog if entry.epoch is not None}
    scores = {score.name: score for score in main_scores(run) if score.lens == lens}
    found = run.scores[run.scores["metric"].isin(scores) & run.scores["model_id"].isin(epochs)]
    layers = found[found["layer"] != ""]
    models = run.models.reindex(list(epochs))
    means = pd.concat(
        [
            pd.DataFrame({"model_id": models.index, "metric": name, "value": models[name].to_numpy(), "layer": ""})
            for name in scores
            if name in models
        ]
        or [pd.DataFrame(columns=["model_id", "metric", "value", "layer"])]
    )
    data = pd.concat([layers[["model_id", "metric", "layer", "conv_depth_norm", "value"]], means], ignore_index=True)
    data["epoch"] = data["model_id"].map(epochs)
    data["place"] = _places(data)
    data["title"] = data["metric"].map(lambda name: scores[name].title)
    data = data.dropna(subset=["value"])
    order = {name: place for place, name in enumerate(scores)}
    return data.sort_values(
        ["metric", "layer", "epoch"], key=lambda c: c.map(order) if c.name == "metric" else c, ignore_index=True
    )


def _places(data: pd.DataFrame) -> pd.Series:
    """Return each row's layer's relative depth, or its place among the lens's layers where no depth is known."""
    names = [name for name in dict.fromkeys(data["layer"]) if name]
    rank = {name: place / max(1, len(names) - 1) for place, name in enumerate(names)}
    return data["conv_depth_norm"].astype(float).fillna(data["layer"].map(rank))


def _panel(axis: Axes, data: pd.DataFrame) -> None:
    from matplotlib import colormaps

    colours = colormaps["viridis"]
    for layer, curve in data.groupby("layer", sort=False):
        if layer == "":
            continue
        axis.plot(curve["epoch"], curve["value"], color=colours(0.95 * curve["place"].iloc[0]), linewidth=0.8)
    mean = data[data["layer"] == ""]
    axis.plot(mean["epoch"], mean["value"], color="black", linewidth=2, marker="o", markersize=3, label="model")
    axis.set_title(textwrap.fill(data["title"].iloc[0], 26), loc="left")
    settle_constant(axis, data["value"], get_score(data["metric"].iloc[0]).bounds)
    axis.locator_params(axis="x", integer=True)


def _colour_bar(figure: MatplotlibFigure, axes: np.ndarray) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shown = ListedColormap(colormaps["viridis"](np.linspace(0, 0.95, 128)))
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), shown), ax=list(axes.flat), aspect=40, pad=0.01)
    bar.set_label("depth of the layer")
    bar.set_ticks([0, 1], labels=["first", "last"])
