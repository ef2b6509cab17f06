"""Coefficients of filters on common principal components, data set by data set (Gavrikov2022Lens, figure 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from filterlens.lenses.filters.pooled import FilterPool, read_filter_pool
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.marks import MARKS, mark_handles
from filterlens.report.style import new_figure, short

__all__ = ["draw_ridge", "ridge_densities"]

SHOWN = 9
_MERGED = 7  # fine bins in one plotted bin: 100 points of the layout's 700
_OVERLAP = 1.6


def ridge_densities(pool: FilterPool) -> pd.DataFrame:
    """Density by `dataset`, `side` and `component` over the `coefficient`, one row a plotted bin."""
    edges = pool.arrays["edges"]
    step = _MERGED if (len(edges) - 1) % _MERGED == 0 else 1
    merged = edges[::step]
    centres, widths = (merged[1:] + merged[:-1]) / 2, np.diff(merged)
    frames = []
    for place, group in enumerate(pool.groups):
        if not _shown(pool, group):
            continue
        counts = pool.arrays["histograms"][place, :SHOWN].reshape(-1, len(centres), step).sum(axis=2)  # (shown, bins)
        totals = counts.sum(axis=1, keepdims=True)
        density = counts / np.maximum(totals, 1) / widths
        frames += [
            pd.DataFrame(
                {
                    "dataset": group["dataset"],
                    "side": _side(group),
                    "component": component,
                    "coefficient": centres,
                    "density": row,
                }
            )
            for component, row in enumerate(density)
        ]
    columns = ["dataset", "side", "component", "coefficient", "density"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _shown(pool: FilterPool, group: Mapping[str, Any]) -> bool:
    """Whether a group is one side of a data set, or the whole of one without sides."""
    if not group["dataset"] or not group["n_filters"]:
        return False
    sides = [g for g in pool.groups if g["dataset"] == group["dataset"] and g["robust"] is not None]
    return group["robust"] is not None or not any(side["n_filters"] for side in sides)


def _side(group: Mapping[str, Any]) -> str:
    return {True: "robust", False: "normal"}.get(group["robust"], "unpaired")


def draw_ridge(run: RunData) -> Drawing | None:
    """Draw a ridge plot: columns are components, rows data set and robustness."""
    pool = read_filter_pool(run)
    data = ridge_densities(pool) if pool is not None else pd.DataFrame()
    if pool is None or data.empty:
        return None
    from matplotlib.ticker import MaxNLocator

    rows = list(data[["dataset", "side"]].drop_duplicates().itertuples(index=False, name=None))
    components = list(pd.unique(data["component"]))
    seen = data.loc[data["density"] > 0, "coefficient"]
    figure = new_figure(0.9 + 0.42 * len(rows))
    axes = figure.subplots(1, len(components), sharey=True, sharex=True, squeeze=False)[0]
    for component, axis in zip(components, axes, strict=True):
        part = data[data["component"] == component]
        scale = _OVERLAP / part["density"].max()
        for place, (dataset, side) in enumerate(rows):
            line = part[(part["dataset"] == dataset) & (part["side"] == side)]
            base = len(rows) - 1 - place
            x, y = line["coefficient"].to_numpy(), base + scale * line["density"].to_numpy()
            look = {"facecolor": MARKS[side].colour, "hatch": MARKS[side].hatch, "edgecolor": "black"}
            axis.fill_between(x, base, y, linewidth=0, zorder=2 * place + 2, **look)
            axis.plot(x, y, color="black", linewidth=0.4, zorder=2 * place + 3)
        axis.set_title(f"c{component}")
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.set_xlim(seen.min(), seen.max())
        axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes[0].set_yticks(range(len(rows)), [short(dataset, 18) for dataset, _ in reversed(rows)])
    axes[0].set_ylim(-0.1, len(rows) - 1 + _OVERLAP + 0.1)
    figure.supxlabel("coefficient", fontsize="medium")
    handles = mark_handles(set(data["side"]), "area")
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    sizes = "; ".join(
        f"{g['dataset']} {_side(g)}: {g['n_models']} models, {g['n_filters']:,} filters"
        for g in pool.groups
        if _shown(pool, g)
    )
    caption = (
        "Distribution of the filters' coefficients on the principal components of all models' filters. Each column has "
        f"one scale of density. {sizes}."
    )
    return Drawing(figure, data, caption)
