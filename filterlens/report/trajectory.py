"""Scores against epochs. One training: a thin line a layer, a thick one for the model. Several: a line each."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from filterlens.catalogs.trajectories import training_of
from filterlens.errors import ReportError
from filterlens.report.comparison import main_scores
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.kernels import sized_score
from filterlens.report.marks import SERIES
from filterlens.report.style import current_style, new_figure, settle_constant, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

__all__ = ["checkpoints", "collapses", "trajectory_figure"]

_COLUMNS = 3
_HAD = 0.1  # robust accuracy above which there is some to lose


def trajectory_figure(lens: str) -> Figure:
    """Return the figure of one lens's scores against epoch; drawn only where the catalog knows epochs."""
    return Figure(f"{lens}_trajectory", lens, "Over training", partial(_draw, lens=lens))


def _draw(run: RunData, *, lens: str) -> Drawing | None:
    data = _curves(run, lens)
    if data.empty or data["epoch"].nunique() < 2:
        return None
    metrics = list(dict.fromkeys(data["metric"]))
    columns = min(_COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = new_figure(0.4 + 2.0 * rows)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    names = sorted(data["training"].unique())
    collapsed = collapses(run)
    for place, axis in enumerate(axes.flat):
        if place >= len(metrics):
            axis.set_visible(False)
            continue
        panel = data[data["metric"] == metrics[place]]
        if len(names) == 1:
            _draw_layers(axis, panel)
        _draw_models(axis, panel[panel["layer"] == ""], names, collapsed)
        _finish(axis, panel)
        if place + columns >= len(metrics):
            axis.set_xlabel("epoch")
            axis.tick_params(labelbottom=True)
    has_layers = len(names) == 1 and bool(data["layer"].ne("").any())
    if has_layers:
        _colour_bar(figure, axes)
    if len(names) == 1:
        axes[0, 0].legend(loc="best")
    else:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=min(4, len(names)))
    return Drawing(figure, data, _caption(data, names, collapsed, has_layers=has_layers))


def _caption(data: pd.DataFrame, names: list[str], collapsed: dict[str, int] | None, *, has_layers: bool) -> str:
    lines = "Thin lines: layers, from the first (dark) to the last (light); thick: the model. " if has_layers else ""
    epochs = sorted(data["epoch"].unique())
    models = data["model_id"].nunique()
    of = "one training" if len(names) == 1 else f"{len(names)} trainings, a line each"
    text = f"{lines}{models} checkpoints of {of}, epoch {epochs[0]} to {epochs[-1]}."
    if collapsed is None:
        return f"{text} Collapses are not marked: robust accuracy was not measured."
    if not collapsed:
        return f"{text} No training lost half of its robust accuracy."
    marked = ", ".join(f"{name} (epoch {epoch})" if name else f"epoch {epoch}" for name, epoch in collapsed.items())
    return f"{text} Dotted lines: robust accuracy first below half of its best so far, {marked}."


def collapses(run: RunData) -> dict[str, int] | None:
    """Epoch of each training at which its robust accuracy is first below half of its best so far.

    Returns
    -------
        By training, those that collapse; None where robust accuracy was not measured. A training that never had robust
        accuracy above a tenth has none to lose.
    """
    models = run.models
    if "robust_accuracy" not in models or models["robust_accuracy"].notna().sum() == 0:
        return None
    found: dict[str, int] = {}
    for name, part in checkpoints(run).groupby("training"):
        accuracy = models["robust_accuracy"].reindex(part["model_id"]).to_numpy(dtype=np.float64)
        best = np.fmax.accumulate(accuracy)
        lost = (best >= _HAD) & (accuracy < best / 2)
        if lost.any():
            found[str(name)] = int(part["epoch"].to_numpy()[lost.argmax()])
    return found


def checkpoints(run: RunData) -> pd.DataFrame:
    """Checkpoints with an epoch, by training and epoch: `model_id`, `training` (empty if there is one), `epoch`.

    Raises
    ------
    ReportError
        Two checkpoints of one training are of the same epoch.
    """
    rows = [(e.model_id, training_of(e), e.epoch) for e in run.catalog if e.epoch is not None]
    found = pd.DataFrame(rows, columns=["model_id", "training", "epoch"]).sort_values(["training", "epoch"])
    twice = found[found.duplicated(["training", "epoch"], keep=False)]
    if len(twice):
        first = twice.iloc[0]
        ids = twice["model_id"][twice["epoch"].eq(first["epoch"]) & twice["training"].eq(first["training"])]
        raise ReportError(
            f"{' and '.join(ids)} are both of epoch {first['epoch']} of one training: say in the catalog's column "
            "`training` which checkpoint is of which"
        )
    return found.assign(training="") if len(set(found["training"])) == 1 else found


def _curves(run: RunData, lens: str) -> pd.DataFrame:
    trained = checkpoints(run).set_index("model_id")
    epochs = trained["epoch"]
    scores = {score.name: score for score in main_scores(run) if score.lens == lens}
    table = run.sized_scores
    found = table[table["metric"].isin(scores) & table["model_id"].isin(epochs.index)]
    layers = found[found["layer"] != ""]
    models = run.models.reindex(epochs.index)
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
    data["training"] = data["model_id"].map(trained["training"])
    data["place"] = _places(data)
    data["title"] = data["metric"].map(lambda name: scores[name].title)
    data = data.dropna(subset=["value"])
    order = {name: place for place, name in enumerate(scores)}
    return data.sort_values(
        ["metric", "training", "layer", "epoch"],
        key=lambda c: c.map(order) if c.name == "metric" else c,
        ignore_index=True,
    )


def _places(data: pd.DataFrame) -> pd.Series:
    """Return each row's layer's relative depth, or its place among the lens's layers where no depth is known."""
    names = [name for name in dict.fromkeys(data["layer"]) if name]
    rank = {name: place / max(1, len(names) - 1) for place, name in enumerate(names)}
    return data["conv_depth_norm"].astype(float).fillna(data["layer"].map(rank))


def _draw_layers(axis: Axes, data: pd.DataFrame) -> None:
    from matplotlib import colormaps

    colours = colormaps["viridis"]
    for layer, curve in data.groupby("layer", sort=False):
        if layer != "":
            axis.plot(curve["epoch"], curve["value"], color=colours(0.95 * curve["place"].iloc[0]), linewidth=0.8)


def _draw_models(axis: Axes, data: pd.DataFrame, names: list[str], collapsed: dict[str, int] | None) -> None:
    """Draw a line a training, and a dotted one where it collapses."""
    for place, name in enumerate(names):
        curve = data[data["training"] == name]
        colour, marker = SERIES[place % len(SERIES)] if len(names) > 1 else ("black", "s")
        axis.plot(
            curve["epoch"], curve["value"], color=colour, marker=marker, label=short(name) or "model", clip_on=False,
            linewidth=(2 if len(names) == 1 else 1.5) * current_style().lines,
        )  # fmt: skip
        if collapsed and name in collapsed:
            axis.axvline(collapsed[name], color=colour, linestyle=":", linewidth=1.2)


def _finish(axis: Axes, data: pd.DataFrame) -> None:
    axis.set_title(textwrap.fill(data["title"].iloc[0], 26), loc="left")
    known = sized_score(str(data["metric"].iloc[0]))
    settle_constant(axis, data["value"], (None, None) if known is None else known.bounds)
    axis.locator_params(axis="x", integer=True)


def _colour_bar(figure: MatplotlibFigure, axes: np.ndarray) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shown = ListedColormap(colormaps["viridis"](np.linspace(0, 0.95, 128)))
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), shown), ax=list(axes.flat), aspect=40, pad=0.01)
    bar.set_label("depth of the layer")
    bar.set_ticks([0, 1], labels=["first", "last"])
