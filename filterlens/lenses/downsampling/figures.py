"""Figures of the downsampling lens: aliasing by operation, and against robust accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from filterlens.lens import all_scores, get_score
from filterlens.lenses.downsampling.map_figures import draw_example, draw_spectra
from filterlens.report.comparison import robustness_column, sides_of_pairs
from filterlens.report.correlation import within_robust
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.figure import Figure as ReportFigure
from filterlens.report.marks import MARKS, mark_handles, mark_of, points
from filterlens.report.style import current_style, new_figure, plain_log, row_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FIGURES", "draw_against_accuracy", "draw_operations", "operation_values"]

METRICS = ("aliasing", "aliasing_relative", "alias_energy")
KINDS = {"main": "convolution", "pool": "pooling", "shortcut": "1x1 shortcut"}
SIDES = (("normal", -0.17), ("robust", 0.17))
LOGARITHMIC = "aliasing"  # spans orders of magnitude; the other two are bounded


def operation_values(run: RunData) -> pd.DataFrame:
    """List every model's score at each operation.

    Columns `dataset`, `metric`, `kind`, `place`, `side`, `model_id`, `layer`, `value`. `place` counts a model's
    operations of one kind from 1 in execution order. Models without known robustness stay out.
    """
    rows = run.lens_scores("downsampling")
    rows = rows[rows["metric"].isin(METRICS) & (rows["layer"] != "")].copy()
    rows["place"] = rows.groupby(["model_id", "metric", "kind"], sort=False).cumcount() + 1
    models = run.models
    rows["side"] = rows["model_id"].map(models["robust"]).map({True: "robust", False: "normal"})
    rows["dataset"] = rows["model_id"].map(models["dataset"]).replace("", "unknown")
    rows = rows[rows["side"].notna() & np.isfinite(rows["value"])]
    columns = ["dataset", "metric", "kind", "place", "side", "model_id", "layer", "value"]
    return pd.DataFrame(rows[columns].reset_index(drop=True))


def draw_operations(run: RunData) -> Drawing | None:
    """Draw every model's score at each operation: rows are scores, columns kinds of operation."""
    data = operation_values(run)
    if data.empty:
        return None
    kinds = [kind for kind in KINDS if (data["kind"] == kind).any()]
    metrics = [metric for metric in METRICS if (data["metric"] == metric).any()]
    places = [int(data.loc[data["kind"] == kind, "place"].max()) for kind in kinds]
    paired = sides_of_pairs(run.models[run.models.index.isin(data["model_id"])])
    figure = new_figure(0.9 + 1.3 * len(metrics))
    row_height = (float(figure.get_figheight()) - 0.9) / len(metrics)
    axes = figure.subplots(
        len(metrics), len(kinds), sharex="col", sharey="row", squeeze=False,
        gridspec_kw={"width_ratios": [max(2, n) for n in places]},
    )  # fmt: skip
    for i, metric in enumerate(metrics):
        for j, kind in enumerate(kinds):
            _strip(axes[i, j], data[(data["metric"] == metric) & (data["kind"] == kind)], paired)
        row_label(axes[i, 0], get_score(metric).title.lower(), row_height)
        if metric == LOGARITHMIC and (data.loc[data["metric"] == metric, "value"] > 0).all():
            plain_log(axes[i, 0], "y")
        else:
            axes[i, 0].set_ylim(bottom=0)
    for j, (kind, n) in enumerate(zip(kinds, places, strict=True)):
        axes[0, j].set_title(KINDS[kind])
        axes[-1, j].set_xticks(range(1, n + 1))
        axes[-1, j].set_xlim(0.5, n + 0.5)
        axes[-1, j].set_xlabel("operation in execution order" if n > 1 else "operation")
    figure.legend(handles=mark_handles(set(data["side"])), loc="outside upper left", ncols=2)
    n_models = data.drop_duplicates("model_id")["side"].value_counts()
    caption = (
        "Aliasing scores of every model at each of its downsampling operations, by kind of operation, in execution "
        "order. Marks: models; bars: mean of the paired ones. The model's score is the mean over convolutions and "
        "poolings. "
        f"Models: {n_models.get('robust', 0)} robust, {n_models.get('normal', 0)} normal."
    )
    return Drawing(figure, data, caption)


def _strip(axis: Axes, part: pd.DataFrame, paired: pd.Series) -> None:
    spread = np.random.default_rng(0)
    for side, offset in SIDES:
        own = part[part["side"] == side]
        jitter = spread.uniform(-0.07, 0.07, len(own)) if len(own) > part["place"].nunique() else np.zeros(len(own))
        size = 9 if own["model_id"].nunique() > 8 else 25
        points(axis, own["place"] + offset + jitter, own["value"], MARKS[side], size=size)
        groups = own[own["model_id"].map(paired).eq(side)].groupby("place")["value"]
        means = groups.mean()[groups.size() > 1]
        axis.hlines(
            means,
            means.index + offset - 0.13,
            means.index + offset + 0.13,
            color="black",
            zorder=4,
            linewidth=1.2 * current_style().lines,
        )


def draw_against_accuracy(run: RunData) -> Drawing | None:
    """Draw each model's scores against its robust accuracy, with Spearman's ρ among the robust models."""
    models = run.models
    target = robustness_column(models)
    metrics = [metric for metric in METRICS if metric in models]
    if not target or not metrics:
        return None
    data = models.copy()
    data["side"] = [mark_of(robust).label for robust in data["robust"]]
    measured = all_scores().get(target)
    in_percent = measured is None or measured.unit == "%"  # the catalog's published accuracies are
    data["accuracy"] = data[target].astype(float) * (1 if in_percent else 100)
    data = data[data["accuracy"].notna() & data[metrics].notna().any(axis=1)]
    if data.empty:
        return None
    data["dataset"] = data["dataset"].replace("", "unknown")
    datasets = list(pd.unique(data["dataset"]))
    figure = new_figure(0.5 + 1.9 * len(datasets))
    axes = figure.subplots(len(datasets), len(metrics), sharey="row", sharex="col", squeeze=False)
    said = []
    for j, metric in enumerate(metrics):
        found = within_robust(data, metric, "accuracy")
        for axis, dataset in zip(axes[:, j], datasets, strict=True):
            part = data[data["dataset"] == dataset].dropna(subset=[metric])
            for side, own in part.groupby("side"):
                points(axis, own[metric], own["accuracy"], MARKS[str(side)])
            axis.set_title(found[dataset].text if dataset in found else "", fontsize="small")
        if metric == LOGARITHMIC and (data[metric].dropna() > 0).all():
            plain_log(axes[0, j], "x")
        axes[-1, j].set_xlabel(get_score(metric).title.lower())
        lines = [f"{dataset}: {one.text}" for dataset, one in found.items()]
        said.append(f"{get_score(metric).title}: {'; '.join(lines)}")
    for axis, dataset in zip(axes[:, 0], datasets, strict=True):
        axis.set_ylabel("robust accuracy in %" if len(datasets) == 1 else f"{dataset}\nrobust accuracy in %")
    figure.legend(handles=mark_handles(set(data["side"])), loc="outside upper left", ncols=3)
    published = "published" if target == "robust_acc" else "measured here with PGD"
    caption = (
        f"Aliasing of each model, mean over convolutions and poolings, against its robust accuracy ({published}). "
        f"Spearman's ρ among the robust models of each data set, with 95 % interval (Fisher's z). {'. '.join(said)}."
    )
    tidy = data.reset_index()[["model_id", "dataset", "architecture", "side", "accuracy", *metrics]]
    return Drawing(figure, tidy, caption)


FIGURES: tuple[ReportFigure, ...] = (
    ReportFigure("downsampling_operations", "downsampling", "Aliasing by operation", draw_operations),
    ReportFigure("downsampling_accuracy", "downsampling", "Aliasing against robust accuracy", draw_against_accuracy),
    ReportFigure("downsampling_spectra", "downsampling", "Spectra before and after downsampling", draw_spectra),
    ReportFigure("downsampling_example", "downsampling", "One map, with and without aliasing", draw_example),
)
