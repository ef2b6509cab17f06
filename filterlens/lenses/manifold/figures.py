"""Figures of the manifold lens: distances to the manifold, and success of attacks against test error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.lenses.manifold.grid_figure import draw_grid
from filterlens.report.comparison import sides_of_pairs
from filterlens.report.correlation import within_robust
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.figure import Figure as ReportFigure
from filterlens.report.marks import MARKS, SERIES, by_mark, mark_handles, mark_of, points
from filterlens.report.style import current_style, new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["FIGURES", "distance_values", "draw_distances", "draw_success"]

BINS = 40
CURVES = (  # kind, side (empty: all), label, colour, line style
    ("held_out", "", "clean, held out", "black", ":"),
    ("noise", "", "noise of equal norm", "black", "-."),
    ("on_manifold", "", "on-manifold attack", SERIES[1][0], "--"),
    *(
        ("attacked", side, f"attacked, {side} models", MARKS[side].colour, MARKS[side].line)
        for side in ("normal", "robust", "unpaired")
    ),
)
PANELS = (
    ("distance", "distance to the manifold"),
    ("ratio", "distance / ‖δ‖₂"),
    ("angle", "angle to tangent space (°)"),
)
ATTACKS = (("regular_success", "regular success rate"), ("on_manifold_success", "on-manifold success rate"))


def distance_values(run: RunData) -> pd.DataFrame:
    """List distance, ratio and angle of every image that the figure shows.

    Columns `dataset`, `model_id`, `robust`, `side`, `kind`, `distance`, `ratio`, `angle`: successful adversarial
    examples of correctly classified images, every clean and noisy image.
    """
    parts = []
    for entry in run.catalog:
        try:
            with run.dump(entry.model_id) as reader:
                if "manifold" in reader.lenses:
                    part = _model_values(reader.lens("manifold"))
                    facts = {"dataset": entry.dataset or "unknown", "model_id": entry.model_id, "robust": entry.robust}
                    parts.append(part.assign(**facts))
        except DumpError:
            continue  # scores outlive dumps: a report may be written where no dump is
    columns = ["dataset", "model_id", "robust", "side", "kind", "distance", "ratio", "angle"]
    if not parts:
        return pd.DataFrame(columns=columns)
    data = pd.concat(parts, ignore_index=True)
    sides = sides_of_pairs(run.models[run.models.index.isin(data["model_id"])])
    return data.assign(side=data["model_id"].map(sides))[columns]


def _model_values(group: DumpGroup) -> pd.DataFrame:
    everyone = np.ones(group.shape("labels"), dtype=bool)
    rows = {
        "held_out": everyone,
        "noise": everyone,
        "attacked": group.read("success_attacked").astype(bool) & group.read("correct").astype(bool),
    }
    if "success_on_manifold" in group:
        correct = group.read("correct_decoded").astype(bool)
        rows["on_manifold"] = group.read("success_on_manifold").astype(bool) & correct
    parts = []
    for kind, chosen in rows.items():
        distance = group.read(f"distance_{kind}")[chosen].astype(np.float64)
        part = pd.DataFrame({"kind": kind, "distance": distance, "ratio": np.nan, "angle": np.nan})
        if kind != "held_out":
            norm = group.read(f"norm_l2_{kind}")[chosen].astype(np.float64)
            part["ratio"] = np.where(norm > 0, distance / np.where(norm > 0, norm, 1), np.nan)
            part["angle"] = group.read(f"angle_{kind}")[chosen].astype(np.float64)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def draw_distances(run: RunData) -> Drawing | None:
    """Draw histograms of distance, of its share of the perturbation, and of the angle; one row a data set."""
    data = distance_values(run)
    if data.empty:
        return None
    datasets = list(pd.unique(data["dataset"]))
    figure = new_figure(0.8 + 1.7 * len(datasets))
    axes = figure.subplots(len(datasets), len(PANELS), squeeze=False)
    for i, dataset in enumerate(datasets):
        part = data[data["dataset"] == dataset]
        for j, (column, label) in enumerate(PANELS):
            _histogram(axes[i, j], part, column)
            axes[i, j].set_xlabel(label)
        axes[i, 0].set_ylabel("share of images" if len(datasets) == 1 else f"{dataset}\nshare of images")
    handles: dict[str, Artist] = {}
    for axis in axes.flat:
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=3)
    n = data.drop_duplicates("model_id")["side"].value_counts()
    counts = data["kind"].value_counts()
    caption = (
        "Distance to the data manifold, its share of the perturbation's length (1: the attack leaves orthogonally, "
        "0: it stays), and the angle between the perturbation and the tangent space. Successful adversarial examples "
        f"of correctly classified images ({counts.get('attacked', 0)} regular, {counts.get('on_manifold', 0)} "
        "on-manifold); as yardsticks clean images that the manifold does not know and noise inside the "
        f"image box of the regular perturbations' length. Models: "
        + ", ".join(f"{n[side]} {side}" for side in ("robust", "normal", "unpaired") if side in n)
        + "."
    )
    return Drawing(figure, data, caption)


def _histogram(axis: Axes, part: pd.DataFrame, column: str) -> None:
    values = part[column].to_numpy(dtype=float)
    known = values[np.isfinite(values)]
    highest = {"angle": 90.0, "ratio": 1.0}.get(column, float(known.max()) if len(known) else 1.0)
    edges = np.linspace(0, max(highest, 1e-6) * 1.0001, BINS + 1)
    for kind, whose, label, colour, style in CURVES:
        chosen = (part["kind"] == kind) & (part["side"].eq(whose) if whose else True)
        own = part.loc[chosen, column].dropna().to_numpy(dtype=float)
        if len(own) == 0:
            continue
        shares, _ = np.histogram(own.clip(max=edges[-1]), edges)
        axis.stairs(shares / len(own), edges, label=label, color=colour, linestyle=style)
    axis.set_xlim(0, edges[-1])
    axis.set_ylim(bottom=0)


def draw_success(run: RunData) -> Drawing | None:
    """Draw each model's success rates against its test error, with intervals and Spearman's ρ among robust models."""
    models = run.models
    shown = [(metric, label) for metric, label in ATTACKS if metric in models and models[metric].notna().any()]
    if not shown or "clean_error" not in models:
        return None
    data = models[models["clean_error"].notna()]
    figure = new_figure(2.6, width=len(shown) / 2)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    said = []
    for axis, (metric, label) in zip(axes, shown, strict=True):
        _scatter(axis, data, metric)
        axis.set_xlabel("test error")
        axis.set_ylabel(label)
        found = within_robust(data, "clean_error", metric)
        said += [f"{label}, {dataset}: {one.text}" for dataset, one in found.items()]
    figure.legend(
        handles=mark_handles({mark_of(robust).label for robust in data["robust"]}), loc="outside upper left", ncols=3
    )
    columns = ["clean_error", *(name for metric, _ in shown for name in (metric, f"{metric}_low", f"{metric}_high"))]
    tidy = data.reset_index()[["model_id", "dataset", "architecture", "robust", *columns]]
    caption = (
        "Success rate of the attacks among correctly classified images against test error; bars are 95 % Wilson "
        "intervals. "
        + (f"Spearman's ρ among the robust models, with its 95 % interval, {'; '.join(said)}. " if said else "")
        + "The paper expects on-manifold success to follow test error and regular success not to."
    )
    return Drawing(figure, tidy, caption)


def _scatter(axis: Axes, data: pd.DataFrame, metric: str) -> None:
    known = data.dropna(subset=[metric])
    for mark, own in by_mark(known):
        x, value = own["clean_error"].astype(float), own[metric].astype(float)
        ends = np.stack([value - own[f"{metric}_low"], own[f"{metric}_high"] - value]).clip(min=0)
        axis.errorbar(x, value, yerr=ends, fmt="none", ecolor=mark.colour, elinewidth=0.7 * current_style().lines)
        points(axis, x, value, mark)
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlim(left=min(0.0, axis.get_xlim()[0]))


FIGURES: tuple[ReportFigure, ...] = (
    ReportFigure("manifold_distances", "manifold", "Distance to the data manifold", draw_distances),
    ReportFigure("manifold_success", "manifold", "Success of attacks against test error", draw_success),
    ReportFigure("manifold_grid", "manifold", "Clean, attacked and on-manifold images", draw_grid),
)
