"""How far the filters of two groups of models lie apart (Gavrikov2022Lens, figure 7; Gavrikov2022DB, figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from filterlens.lenses.filters.pooled import read_filter_pool
from filterlens.report.data import RunData
from filterlens.report.depth import DEPTH_AXIS, DEPTH_LABELS
from filterlens.report.figure import Drawing
from filterlens.report.hover import Matrix, cluster
from filterlens.report.marks import CATEGORIES, NEUTRAL, mark_handles, mark_of
from filterlens.report.style import current_style, new_figure, sequential, short, square_root

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_shift_by_depth", "draw_shift_of_models"]

_LABELLED = 60


def draw_shift_by_depth(run: RunData) -> Drawing | None:
    """Draw bars: x is the depth group, one bar a data set with pairs, and on it what chance would give.

    A side without filters is marked, not drawn as zero.
    """
    pool = read_filter_pool(run)
    if pool is None:
        return None
    from matplotlib.patheffects import withStroke

    shift, counts = pool.arrays["shift_depths"], pool.arrays["shift_depth_counts"]
    shown = [d for d in range(len(pool.datasets)) if pool.paired[d] and np.isfinite(shift[d]).any()]
    if not shown:
        return None
    null = pool.null_depths  # (D, draws, 11)
    has_null = bool(np.isfinite(null[shown]).any())
    outline = [withStroke(linewidth=2.4 * current_style().lines, foreground="white")]
    figure = new_figure(2.4)
    axis = figure.subplots()
    x = np.arange(len(pool.depths))
    width = 0.8 / len(shown)
    for i, d in enumerate(shown):
        places = x + (i - (len(shown) - 1) / 2) * width
        colour, hatch = CATEGORIES[i % len(CATEGORIES)]
        known = np.isfinite(shift[d])
        look: dict[str, Any] = {
            "color": colour,
            "hatch": hatch,
            "edgecolor": "black",
            "linewidth": 0.4,
            "label": pool.datasets[d],
        }
        axis.bar(places[known], shift[d][known], width, **look)
        if not known.all():
            axis.plot(places[~known], np.zeros((~known).sum()), "x", color=NEUTRAL, clip_on=False)
        chance = known & np.isfinite(null[d]).any(axis=0)
        if chance.any():
            low, middle, high = (f(null[d][:, chance], axis=0) for f in (np.min, np.median, np.max))
            axis.errorbar(
                places[chance], middle, yerr=np.stack([middle - low, high - middle]), fmt="_", color="black",
                markersize=5 * current_style().lines, elinewidth=1.0 * current_style().lines, zorder=4,
                label="by chance" if d == shown[-1] else None, path_effects=outline,
            )  # fmt: skip
    sizes = shift[shown][np.isfinite(shift[shown])]
    if sizes.max() > 10 * np.median(sizes) > 0:
        square_root(axis)
    axis.set_xticks(x, DEPTH_LABELS)
    axis.set_xlabel(DEPTH_AXIS)
    axis.set_ylabel("shift D(robust, normal)\nin nats")
    figure.legend(loc="outside upper left", ncols=len(shown) + 1)
    levels = np.stack([f(null, axis=1) for f in (np.min, np.median, np.max)], axis=-1)  # (D, 11, 3)
    rows = [
        (pool.datasets[d], depth, float(shift[d, g]), *counts[d, g].tolist(), *levels[d, g].tolist())
        for d in shown
        for g, depth in enumerate(pool.depths)
    ]
    columns = ["dataset", "depth", "shift", "n_robust_filters", "n_normal_filters"]
    data = pd.DataFrame(rows, columns=[*columns, "chance_lowest", "chance_median", "chance_highest"])
    who = "; ".join(
        f"{pool.datasets[d]}: {counts[d, :, 0].sum():,} robust, {counts[d, :, 1].sum():,} normal filters" for d in shown
    )
    by_chance = (
        f"By chance: lowest, median and highest of {null.shape[1]} shifts with robust and normal swapped at random "
        "within pairs; a bar above the highest is more than chance gives. "
        if has_null
        else "No level of chance: that takes four distinct normal models. "
    )
    caption = (
        "Shift between the filters of robust and normal models by depth: symmetric Kullback–Leibler divergence of the "
        f"coefficients, weighted by explained variance. Crosses: no filters on one side. Where one is many times "
        f"the others the axis is scaled by its square root. {by_chance}"
        f"Paired models only; {who}."
    )
    return Drawing(figure, data, caption)


def draw_shift_of_models(run: RunData) -> Drawing | None:
    """Draw a heat map of the shift between every two models, robust ones first, alike ones of a side neighbours."""
    pool = read_filter_pool(run)
    if pool is None or len(pool.models) < 2:
        return None
    from matplotlib.colors import PowerNorm

    shift = np.asarray(pool.arrays["shift_models"], dtype=np.float64)
    side_of = np.array([{True: 0, False: 1}.get(model["robust"], 2) for model in pool.models])
    sides = [np.flatnonzero(side_of == side) for side in range(3)]
    order = np.concatenate([side[cluster(shift[np.ix_(side, side)])] for side in sides])
    shift = shift[np.ix_(order, order)]
    names = [str(pool.models[i]["model_id"]) for i in order]
    robust = [pool.models[i]["robust"] for i in order]
    page = current_style().page
    side = min(page - 0.6, 2.2 + 0.13 * len(names))
    figure = new_figure(side, width=(side + 0.6) / page)
    axis = figure.subplots()
    image = axis.imshow(shift, cmap=sequential(), norm=PowerNorm(0.5, vmin=0, vmax=max(float(np.nanmax(shift)), 1e-9)))
    axis.grid(visible=False)
    if len(names) <= _LABELLED:
        size = 7 if len(names) <= 24 else 6 if len(names) <= 36 else 5
        labels = [short(name, 26) for name in names]
        axis.set_yticks(range(len(names)), labels, fontsize=size)
        axis.set_xticks(range(len(names)), labels, fontsize=size, rotation=90)
    else:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(f"{len(names)} models, in the order of the rows")
    _mark_sides(axis, robust)
    handles = mark_handles({mark_of(one).label for one in robust}, "area")
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    figure.colorbar(image, ax=axis, shrink=0.8, label="shift in nats")
    n = len(names)
    data = pd.DataFrame(
        {
            "model_id": np.repeat(np.asarray(names, dtype=object), n),
            "other_id": np.tile(np.asarray(names, dtype=object), n),
            "shift": shift.ravel(),
        }
    )
    counts = f"{robust.count(True)} robust, {robust.count(False)} normal"
    caption = (
        "Shift between the filters of every two models, on the principal components of all; colour grows with its "
        "square root. Robust models first (strip), each side in the order of average-linkage clustering. "
        f"{n} models: {counts}."
    )
    return Drawing(figure, data, caption, Matrix(tuple(names), shift, "nats", axis))


def _mark_sides(axis: Axes, robust: Sequence[bool | None]) -> None:
    """Draw a strip left of the map and above it: which side each model is on."""
    for place, is_robust in enumerate(robust):
        mark = mark_of(is_robust)
        style: dict[str, Any] = {"facecolor": mark.colour, "hatch": mark.hatch, "linewidth": 0, "clip_on": False}
        axis.fill_between([place - 0.5, place + 0.5], 1.005, 1.03, transform=axis.get_xaxis_transform(), **style)
        axis.fill_betweenx([place - 0.5, place + 0.5], -0.03, -0.005, transform=axis.get_yaxis_transform(), **style)
    axis.tick_params(length=0, pad=10)
    axis.spines[:].set_visible(False)
