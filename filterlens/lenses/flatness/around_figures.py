"""Figures of what is measured where it is asked to: flatness against ξ, and a plane of weight space."""

from __future__ import annotations

import numpy as np
import pandas as pd

from filterlens.lenses.flatness.curve_figures import draw_side_curves, flatness_groups, scale_long_tail
from filterlens.report.comparison import pair_models
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.style import current_style, new_figure, short

__all__ = ["draw_plane", "draw_radii"]

_CASES = {"average": "average", "worst": "worst_case"}


def draw_radii(run: RunData) -> Drawing | None:
    """Draw average- and worst-case flatness against ξ, a line a model, robust beside normal."""
    data = _radii(run)
    if data.empty:
        return None
    figure = new_figure(2.5)
    axes = figure.subplots(1, 2)
    for axis, case in zip(axes, _CASES, strict=True):
        part = data[data["case"] == case]
        draw_side_curves(axis, part, "radius", "flatness")
        axis.set_title(f"{case} case")
        axis.set_xlabel("ξ, size of the perturbation relative to the weights")
        axis.set_xlim(left=0)
        scale_long_tail(axis, "y", part["flatness"])
        if part["flatness"].min() >= 0:
            axis.set_ylim(bottom=0)
        axis.set_ylabel("rise of the robust loss (nats)" if case == "average" else "")
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(loc="best")
    caption = (
        "Flatness of the robust loss against the size of the weight perturbation, ‖ν‖ = ξ ‖w‖ (average case, mean over "
        "the same random directions at every ξ) and ‖ν‖ ≤ ξ ‖w‖ (worst case, highest restart) in every layer; images "
        "attacked anew. Thin lines: models; thick: mean of a side's paired models. "
        f"n = {data['model_id'].nunique()} models. Axes with a long tail are logarithmic beyond ±1."
    )
    return Drawing(figure, data, caption)


def _radii(run: RunData) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for model, group in flatness_groups(run, "radii"):
        reference = group.read("reference_loss").astype(np.float64).mean()
        found, times = group.attributes, group.read("radii")
        for case, name in _CASES.items():
            losses = group.read(f"radii_{name}_loss").astype(np.float64).mean(axis=2)  # (k, T) or (k, R)
            rise = losses.mean(axis=1) - reference if case == "average" else (losses.max(axis=1) - reference).clip(0)
            radii = times * float(found[f"{case}_radius"])
            rows += [
                {**model, "case": case, "radius": round(float(radius), 8), "flatness": value}
                for radius, value in zip([0.0, *radii], [0.0, *rise], strict=True)
            ]
    return pd.DataFrame(rows)


def draw_plane(run: RunData) -> Drawing | None:
    """Draw the robust loss over a plane of weight space: the first pair's two models, or else the first model."""
    planes = {}
    scaled_by = "layers"
    for model, group in flatness_groups(run, "plane_positions"):
        losses = group.read("plane_loss").astype(np.float64).mean(axis=2)
        planes[str(model["model_id"])] = (group.read("plane_positions").astype(np.float64), losses)
        scaled_by = str(group.attributes.get("plane_directions", scaled_by))
    if not planes:
        return None
    pairs = pair_models(run.models)
    both = [(n, r) for n, r in zip(pairs["normal"], pairs["robust"], strict=True) if n in planes and r in planes]
    shown = list(both[0]) if both else list(planes)[:1]
    figure = new_figure(2.9, width=0.5 * len(shown))
    parts = []
    for axis, model_id in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        places, losses = planes[model_id]
        picture = axis.pcolormesh(places, places, losses.T, shading="gouraud", cmap="viridis")
        if np.ptp(losses) > 0:
            lines = axis.contour(places, places, losses.T, colors="white", linewidths=0.5 * current_style().lines)
            axis.clabel(lines, fontsize="x-small")
        axis.plot([0], [0], "+", color="white")
        axis.grid(visible=False)
        axis.set_aspect("equal")
        axis.set_title(short(model_id, 26))
        axis.set_xlabel("s, along the first direction")
        axis.set_ylabel("t, along the second direction")
        figure.colorbar(picture, ax=axis, shrink=0.8, label="robust loss (nats)")
        s, t = np.meshgrid(places, places, indexing="ij")
        values = {"s": s.ravel(), "t": t.ravel(), "robust_loss": losses.ravel()}
        parts.append(pd.DataFrame({"model_id": model_id, **values}))
    caption = (
        "Robust loss at w + s a + t b, a and b random directions, scaled "
        f"{'filter by filter' if scaled_by == 'filters' else 'layer by layer'} to half the weights' norm; images "
        "attacked anew at every place of the grid. The cross is the trained network. Each picture has its own colours."
    )
    return Drawing(figure, pd.concat(parts, ignore_index=True), caption)
