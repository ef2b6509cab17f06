"""Figures of the manifold study: what more data does, and what goes with test error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from filterlens.report.correlation import rank_correlation
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.figure import Figure as ReportFigure
from filterlens.report.marks import MARKS, SERIES
from filterlens.report.style import current_style, new_figure
from filterlens.studies.claims import study_models

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FIGURES", "draw_against_error", "draw_against_size"]

LOOKS = {
    "normal": ("normal", MARKS["normal"].colour, MARKS["normal"].marker, MARKS["normal"].line),
    "half": ("half adversarial", MARKS["robust"].colour, MARKS["robust"].marker, MARKS["robust"].line),
    "on-manifold": ("on-manifold", *SERIES[1], "-."),
    "transformations": ("adversarial transformations", *SERIES[3], ":"),
}
RATES = {
    "test_error": "test error",
    "on_manifold_success": "on-manifold success rate",
    "regular_success": "regular success rate",
}
_COLUMNS = ["model_id", "recipe", "n_train", "seed", *RATES]


def draw_against_size(run: RunData) -> Drawing | None:
    """Draw test error and both success rates against the number of training images."""
    models = study_models(run)[_COLUMNS]
    figure = new_figure(2.5)
    axes = figure.subplots(1, len(RATES))
    for axis, (name, label) in zip(axes, RATES.items(), strict=True):
        for recipe, part in models.groupby("recipe", sort=False):
            text, colour, marker, style = LOOKS[str(recipe)]
            grouped = part.groupby("n_train")[name]
            mean = grouped.mean()
            axis.plot(mean.index, mean, color=colour, marker=marker, linestyle=style, label=text, clip_on=False)
            axis.fill_between(mean.index, grouped.min(), grouped.max(), color=colour, alpha=0.15, linewidth=0)
        axis.set_xscale("log")
        sizes = sorted(models["n_train"].unique())
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel("training images")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    seeds = models["seed"].nunique()
    caption = (
        "Test error and success rates of on-manifold and regular attacks against the number of training images. "
        f"Lines: mean over {seeds} seeds; bands: lowest to highest. {len(models)} networks."
    )
    return Drawing(figure, models, caption)


def draw_against_error(run: RunData) -> Drawing | None:
    """Draw both success rates against test error, one mark a network, with Spearman's ρ within each training."""
    models = study_models(run)[_COLUMNS]
    figure = new_figure(2.9)
    axes = figure.subplots(1, 2)
    said = []
    for axis, name in zip(axes, ("on_manifold_success", "regular_success"), strict=True):
        _scatter(axis, models, name)
        said.append(f"{RATES[name]}: {_rho(models, name)}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    caption = (
        "Success rates against test error; larger marks: more training images. Spearman's ρ within each training with "
        f"its 95 % interval (Fisher's z); {'; '.join(said)}."
    )
    return Drawing(figure, models, caption)


def _scatter(axis: Axes, models: pd.DataFrame, name: str) -> None:
    smallest = models["n_train"].min()
    for recipe, part in models.groupby("recipe", sort=False):
        text, colour, marker, _ = LOOKS[str(recipe)]
        sizes = (8 + 8 * np.log2(part["n_train"].to_numpy(dtype=float) / smallest)) * current_style().lines ** 2
        axis.scatter(
            part["test_error"], part[name], s=sizes, color=colour, marker=marker, edgecolors="black", linewidths=0.3,
            label=text, clip_on=False,
        )  # fmt: skip
    axis.set_xlabel("test error")
    axis.set_ylabel(RATES[name])
    axis.set_xlim(left=0)
    axis.set_ylim(-0.03, 1.03)


def _rho(models: pd.DataFrame, name: str) -> str:
    """Spearman's ρ within each training: over all together it would show the trainings' clusters too."""
    return ", ".join(
        f"{LOOKS[str(recipe)][0]} {rank_correlation(part['test_error'], part[name]).text}"
        for recipe, part in models.groupby("recipe", sort=False)
    )


FIGURES: tuple[ReportFigure, ...] = (
    ReportFigure("study_sizes", "manifold", "Error and success against training images", draw_against_size),
    ReportFigure(
        "study_errors", "manifold", "Success of attacks against test error, all trainings", draw_against_error
    ),
)
