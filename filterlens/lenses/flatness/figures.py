"""Figures of the flatness lens: robust loss against flatness, and the landscape around the weights [Stutz2021]_."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from filterlens.lens import get_score
from filterlens.report.correlation import within_robust
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.style import NEUTRAL, NORMAL, PAGE_WIDTH, ROBUST

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FIGURES", "draw_landscape", "draw_scatter"]

_FLATNESS = ("average_flatness", "worst_flatness")
_ROBUSTNESS = (("robust_loss", "flatness_reference_loss"), ("robust_accuracy",))
_SIDES = (
    (True, "robust", ROBUST, "o", "-"),
    (False, "normal", NORMAL, "s", "--"),
    (None, "unknown", NEUTRAL, "^", ":"),
)
_DIRECTIONS = ("random", "adversarial")


def draw_scatter(run: RunData) -> Drawing | None:
    """Draw robust loss and robust accuracy against average-case and worst-case flatness, a point a model."""
    models = run.models
    columns = [m for m in _FLATNESS if m in models and models[m].notna().any()]
    rows = [names[0] for names in _ROBUSTNESS]
    for names in _ROBUSTNESS:
        for name in names[1:]:  # the flatness lens's own robust loss stands in where the robustness lens was not run
            if name in models and names[0] not in models:
                models[names[0]] = models[name]
    rows = [m for m in rows if m in models and models[m].notna().any()]
    if not columns or not rows:
        return None
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(PAGE_WIDTH, 0.5 + 2.1 * len(rows)))
    axes = figure.subplots(len(rows), len(columns), sharex="col", sharey="row", squeeze=False)
    parts = []
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            _points(axes[i, j], models, x, y)
            found = within_robust(models, x, y)
            lines = [one.text if len(found) == 1 else f"{dataset}: {one.text}" for dataset, one in found.items()]
            axes[i, j].set_title("robust models: " + "\n".join(lines) if lines else "", loc="right", fontsize=7)
            part = models[["dataset", "robust", x, y]].dropna(subset=[x, y]).reset_index()
            part = part.rename(columns={x: "x", y: "y"}).assign(x_metric=x, y_metric=y)
            own = part["dataset"].replace("", "unknown").map(found).where(part["robust"].eq(True))  # noqa: FBT003
            numbers = {"spearman": "rho", "spearman_low": "low", "spearman_high": "high", "spearman_n": "n"}
            parts.append(part.assign(**{k: own.map(attrgetter(v), na_action="ignore") for k, v in numbers.items()}))
        axes[i, 0].set_ylabel(_label(y))
    for j, x in enumerate(columns):
        axes[-1, j].set_xlabel(_label(x))
    axes[0, 0].legend(loc="best")
    caption = (
        "Robust loss and robust accuracy against flatness of the robust loss; lower is flatter. "
        "Each point is a model. ρ is Spearman's rank correlation among the n robust models of a data set, with its "
        "95 % interval (Fisher's z), not given for fewer than four: over robust and normal models together it would "
        "only say that these are two clusters. "
        "Axes with a long tail are linear up to 1 and logarithmic beyond."
    )
    return Drawing(figure, pd.concat(parts, ignore_index=True), caption)


def draw_landscape(run: RunData) -> Drawing | None:
    """Draw the robust loss along a random and an adversarial direction of weight space, a line a model."""
    data = _landscape(run)
    if data.empty:
        return None
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(PAGE_WIDTH, 2.5))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, direction in zip(axes, _DIRECTIONS, strict=True):
        part = data[data["direction"] == direction]
        for _, side, colour, _, line in _SIDES:
            chosen = part[part["side"] == side]
            for _, curve in chosen.groupby("model_id", sort=False):
                axis.plot(curve["position"], curve["rise"], color=colour, linestyle=line, linewidth=0.6, alpha=0.5)
            if len(chosen):
                mean = chosen.groupby("position")["rise"].mean()
                axis.plot(mean.index, mean, color=colour, linestyle=line, linewidth=2, label=f"{side} (mean)")
        length = part["length"].iloc[0]
        axis.set_title(f"{direction} direction, ‖ν‖ = {length:g} ‖w‖ at s = ±1")
        axis.set_xlabel("position s")
        axis.set_xlim(-1, 1)
        axis.set_xticks([-1, -0.5, 0, 0.5, 1])
        _scale(axis, "y", data["rise"])
    axes[0].set_ylabel("rise of the robust loss (nats)")
    axes[0].legend(loc="best")
    n = data["model_id"].nunique()
    caption = (
        "Robust loss at w + s ν less that at w, each layer's part of ν as long relative to its weights as the others', "
        "images attacked anew at every position. Thin lines: models; thick: mean of a side. "
        f"n = {n} models. Axes with a long tail are logarithmic beyond ±1. A narrow valley is a sharp minimum."
    )
    return Drawing(figure, data, caption)


def _landscape(run: RunData) -> pd.DataFrame:
    scored = set(run.lens_scores("flatness")["model_id"])
    rows = []
    for entry in run.catalog:
        if entry.model_id not in scored:
            continue
        side = {True: "robust", False: "normal", None: "unknown"}[entry.robust]
        with run.dump(entry.model_id) as dump:
            group = dump.lens("flatness")
            if "landscape_positions" not in group:
                continue
            found, positions = group.attributes, group.read("landscape_positions")
            lengths = (found.get("average_radius", np.nan), found.get("adversarial_length", np.nan))
            for direction, length in zip(_DIRECTIONS, lengths, strict=True):
                losses = group.read(f"landscape_{direction}").astype(np.float64).mean(axis=1)
                at_weights = float(losses[np.abs(positions).argmin()])
                rows += [
                    {"model_id": entry.model_id, "side": side, "direction": direction, "length": length}
                    | {"position": round(float(s), 4), "robust_loss": loss, "rise": loss - at_weights}
                    for s, loss in zip(positions, losses, strict=True)
                ]
    return pd.DataFrame(rows)


def _points(axis: Axes, models: pd.DataFrame, x: str, y: str) -> None:
    for robust, side, colour, marker, _ in _SIDES:
        chosen = models[models["robust"].isna() if robust is None else models["robust"].eq(robust)]
        chosen = chosen.dropna(subset=[x, y])
        if len(chosen):
            axis.scatter(
                chosen[x], chosen[y], s=18, color=colour, marker=marker, edgecolor="black", linewidth=0.4, label=side
            )
    _scale(axis, "x", models[x])
    _scale(axis, "y", models[y])


def _scale(axis: Axes, which: Literal["x", "y"], values: pd.Series) -> None:
    """Logarithmic on both sides of 0 where a few values would squeeze all others together."""
    from matplotlib.ticker import FuncFormatter

    size = values.abs().dropna()
    size = size[size > 0]
    if len(size) and size.max() > 20 and size.max() / size.median() > 10:
        (axis.set_xscale if which == "x" else axis.set_yscale)("symlog", linthresh=1.0)
        plain = axis.xaxis if which == "x" else axis.yaxis
        plain.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _label(metric: str) -> str:
    score = get_score(metric)
    title = score.title[:1].lower() + score.title[1:]
    return f"{title} ({score.unit})" if score.unit == "nats" else title


FIGURES: tuple[Figure, ...] = (
    Figure("flatness_scatter", "flatness", "Robustness against flatness", draw_scatter),
    Figure("flatness_landscape", "flatness", "Landscape of the robust loss", draw_landscape),
)
