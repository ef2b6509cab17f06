"""Figures of the flatness lens: robust loss against flatness, and the landscape around the weights [Stutz2021]_."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from filterlens.lens import get_score
from filterlens.lenses.flatness.around_figures import draw_plane, draw_radii
from filterlens.lenses.flatness.curve_figures import FEW, draw_side_curves, flatness_groups, scale_long_tail
from filterlens.report.correlation import within_robust
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.marks import by_mark, mark_handles, mark_of, points
from filterlens.report.style import new_figure, row_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FIGURES", "draw_landscape", "draw_scatter"]

_FLATNESS = ("average_flatness", "worst_flatness")
_ROBUSTNESS = (("robust_loss", "flatness_reference_loss"), ("robust_accuracy",), ("robust_gap",))
_DIRECTIONS = ("random", "adversarial")


def draw_scatter(run: RunData) -> Drawing | None:
    """Draw robust loss, accuracy and gap against average-case and worst-case flatness, a point a model."""
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
    figure = new_figure(0.5 + 2.1 * len(rows))
    axes = figure.subplots(len(rows), len(columns), sharex="col", sharey="row", squeeze=False)
    parts = []
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            _points(axes[i, j], models, x, y)
            found = within_robust(models, x, y)
            lines = [one.text if len(found) == 1 else f"{dataset}: {one.text}" for dataset, one in found.items()]
            axes[i, j].set_title("robust models: " + "\n".join(lines) if lines else "", loc="right", fontsize="small")
            part = models[["dataset", "robust", x, y]].dropna(subset=[x, y]).reset_index()
            part = part.rename(columns={x: "x", y: "y"}).assign(x_metric=x, y_metric=y)
            own = part["dataset"].replace("", "unknown").map(found).where(part["robust"].eq(True))  # noqa: FBT003
            numbers = {"spearman": "rho", "spearman_low": "low", "spearman_high": "high", "spearman_n": "n"}
            parts.append(part.assign(**{k: own.map(attrgetter(v), na_action="ignore") for k, v in numbers.items()}))
        row_label(axes[i, 0], _label(y), (float(figure.get_figheight()) - 0.9) / len(rows))
    for j, x in enumerate(columns):
        axes[-1, j].set_xlabel(_label(x))
    shown = models.dropna(subset=columns, how="all").dropna(subset=rows, how="all")
    handles = mark_handles({mark_of(robust).label for robust in shown["robust"]})
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    caption = (
        f"{_listed(rows)} against flatness of the robust loss; lower is flatter. "
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
    figure = new_figure(2.5)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, direction in zip(axes, _DIRECTIONS, strict=True):
        part = data[data["direction"] == direction]
        draw_side_curves(axis, part, "position", "rise")
        length = part["length"].iloc[0]
        axis.set_title(f"{direction}, ‖ν‖ = {length:g} ‖w‖")
        axis.set_xlabel(f"position s in {direction} direction")
        axis.set_xlim(-1, 1)
        few = data["position"].nunique() <= FEW
        places = sorted(set(data["position"])) if few else [-1, -0.5, 0, 0.5, 1]
        axis.set_xticks(places, [f"{s:g}".replace("-", "−") for s in places])
        scale_long_tail(axis, "y", data["rise"])
    axes[0].set_ylabel("rise of the robust loss (nats)")
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(loc="best")
    n = data["model_id"].nunique()
    caption = (
        "Robust loss at w + s ν less that at w, ‖ν‖ as above each panel, "
        "each layer's part of ν as long relative to its weights as the others', "
        f"images attacked anew at each of {data['position'].nunique()} positions. Thin lines: models; thick: mean of a "
        "side's paired models. "
        f"n = {n} models. Axes with a long tail are logarithmic beyond ±1. A narrow valley is a sharp minimum."
    )
    return Drawing(figure, data, caption)


def _landscape(run: RunData) -> pd.DataFrame:
    rows = []
    for model, group in flatness_groups(run, "landscape_positions"):
        found, positions = group.attributes, group.read("landscape_positions")
        if len(positions) < 2:
            continue  # as in the study, which measures none
        lengths = (found.get("average_radius", np.nan), found.get("adversarial_length", np.nan))
        for direction, length in zip(_DIRECTIONS, lengths, strict=True):
            losses = group.read(f"landscape_{direction}").astype(np.float64).mean(axis=1)
            at_weights = float(losses[np.abs(positions).argmin()])
            rows += [
                {**model, "direction": direction, "length": length}
                | {"position": round(float(s), 4), "robust_loss": loss, "rise": loss - at_weights}
                for s, loss in zip(positions, losses, strict=True)
            ]
    return pd.DataFrame(rows)


def _points(axis: Axes, models: pd.DataFrame, x: str, y: str) -> None:
    known = models.dropna(subset=[x, y])
    for mark, own in by_mark(known):
        points(axis, own[x], own[y], mark, size=18)
    scale_long_tail(axis, "x", models[x])
    scale_long_tail(axis, "y", models[y])


def _listed(metrics: list[str]) -> str:
    """Say the scores' titles in a row: `Robust loss and robust accuracy (PGD)`."""
    titles = [get_score(metric).title for metric in metrics]
    first, *rest = [titles[0], *(title[:1].lower() + title[1:] for title in titles[1:])]
    return " and ".join([", ".join([first, *rest[:-1]]), *rest[-1:]])


def _label(metric: str) -> str:
    score = get_score(metric)
    title = score.title[:1].lower() + score.title[1:]
    return f"{title} ({score.unit})" if score.unit == "nats" else title


FIGURES: tuple[Figure, ...] = (
    Figure("flatness_scatter", "flatness", "Robustness against flatness", draw_scatter),
    Figure("flatness_landscape", "flatness", "Landscape of the robust loss", draw_landscape),
    Figure("flatness_radii", "flatness", "Flatness against the size of the perturbation", draw_radii),
    Figure("flatness_plane", "flatness", "Robust loss over a plane of weights", draw_plane),
)
