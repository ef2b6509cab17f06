"""How far the filters of two groups of models lie apart (Gavrikov2022Lens, figure 7; Gavrikov2022DB, figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from filterlens.lenses.filters.pooled import read_filter_pool
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.hover import Matrix, cluster
from filterlens.report.style import CATEGORIES, NEUTRAL, PAGE_WIDTH, short, side_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_shift_by_depth", "draw_shift_of_models"]

_LABELLED = 60


def draw_shift_by_depth(run: RunData) -> Drawing | None:
    """Draw bars: x is the depth group, one bar a data set; a side without filters is marked, not drawn as zero."""
    pool = read_filter_pool(run)
    if pool is None or not np.isfinite(pool.arrays["shift_depths"]).any():
        return None
    from matplotlib.figure import Figure

    shift, counts = pool.arrays["shift_depths"], pool.arrays["shift_depth_counts"]
    shown = [d for d in range(len(pool.datasets)) if np.isfinite(shift[d]).any()]
    figure = Figure(figsize=(PAGE_WIDTH, 2.3))
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
        axis.plot(places[~known], np.zeros((~known).sum()), "x", color=NEUTRAL, markersize=3, clip_on=False)
    axis.set_xticks(x, list(pool.depths))
    axis.set_xlabel("relative depth of the convolution (0: the first)")
    axis.set_ylabel("shift D(robust, normal) [nats]")
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(shown))
    rows = [
        (pool.datasets[d], depth, float(shift[d, g]), int(counts[d, g, 0]), int(counts[d, g, 1]))
        for d in shown
        for g, depth in enumerate(pool.depths)
    ]
    data = pd.DataFrame(rows, columns=["dataset", "depth", "shift", "n_robust_filters", "n_normal_filters"])
    who = "; ".join(
        f"{pool.datasets[d]}: {counts[d, :, 0].sum():,} robust, {counts[d, :, 1].sum():,} normal filters of "
        f"{'paired models' if d < len(pool.paired) and pool.paired[d] else 'all models'}"
        for d in shown
    )
    caption = (
        "Shift between the filters of robust and normal models by depth: symmetric Kullback–Leibler divergence of the "
        f"coefficients, weighted by explained variance. Crosses: no filters on one side. {who}."
    )
    return Drawing(figure, data, caption)


def draw_shift_of_models(run: RunData) -> Drawing | None:
    """Draw a heat map of the shift between every two models, robust ones first, alike ones of a side neighbours."""
    pool = read_filter_pool(run)
    if pool is None or len(pool.models) < 2:
        return None
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    shift = np.asarray(pool.arrays["shift_models"], dtype=np.float64)
    side_of = np.array([{True: 0, False: 1}.get(model["robust"], 2) for model in pool.models])
    sides = [np.flatnonzero(side_of == side) for side in range(3)]
    order = np.concatenate([side[cluster(shift[np.ix_(side, side)])] for side in sides])
    shift = shift[np.ix_(order, order)]
    names = [str(pool.models[i]["model_id"]) for i in order]
    robust = [pool.models[i]["robust"] for i in order]
    side = min(PAGE_WIDTH, 2.2 + 0.13 * len(names))
    figure = Figure(figsize=(side + 0.6, side))
    axis = figure.subplots()
    image = axis.imshow(shift, cmap="magma_r", norm=PowerNorm(0.5, vmin=0, vmax=max(float(np.nanmax(shift)), 1e-9)))
    axis.grid(visible=False)
    if len(names) <= _LABELLED:
        size = 7 if len(names) <= 30 else 5
        labels = [short(name, 26) for name in names]
        axis.set_yticks(range(len(names)), labels, fontsize=size)
        axis.set_xticks(range(len(names)), labels, fontsize=size, rotation=90)
    else:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(f"{len(names)} models, in the order of the rows")
    _mark_sides(axis, robust)
    figure.colorbar(image, ax=axis, shrink=0.8, label="shift [nats]")
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
        f"square root. "
        f"Robust models first (strip: robust dark, normal light), each side in the order of average-linkage "
        f"clustering. {n} models: {counts}."
    )
    return Drawing(figure, data, caption, Matrix(tuple(names), shift, "nats", axis))


def _mark_sides(axis: Axes, robust: Sequence[bool | None]) -> None:
    """Draw a strip left of the map and above it: which side each model is on."""
    for place, is_robust in enumerate(robust):
        style: dict[str, Any] = {"color": side_colour(is_robust), "linewidth": 0, "clip_on": False}
        axis.fill_between([place - 0.5, place + 0.5], 1.005, 1.03, transform=axis.get_xaxis_transform(), **style)
        axis.fill_betweenx([place - 0.5, place + 0.5], -0.03, -0.005, transform=axis.get_yaxis_transform(), **style)
    axis.tick_params(length=0, pad=10)
    axis.spines[:].set_visible(False)
