"""Principal components of scaled filters, and how much of their variance each explains (Gavrikov2022Lens, figure 2)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from filterlens.lenses.filters.pooled import FilterPool, read_filter_pool
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.marks import MARKS
from filterlens.report.style import diverging, new_figure

__all__ = ["draw_bases", "draw_cumulative"]

GROUPS = ("all", "robust", "normal")
SHOWN = 9
_ALL = ("black", "-.", "s")


def _present(pool: FilterPool) -> dict[str, int]:
    """Find the groups that have a basis, by label."""
    ratios = pool.arrays["explained_variance_ratio"]
    places = {label: pool.group(label) for label in GROUPS}
    return {label: g for label, g in places.items() if g is not None and np.isfinite(ratios[g]).all()}


def _count(pool: FilterPool, present: dict[str, int]) -> str:
    sizes = {label: pool.groups[g] for label, g in present.items()}
    return "; ".join(f"{label}: {g['n_filters']:,} filters of {g['n_models']} models" for label, g in sizes.items())


def draw_bases(run: RunData) -> Drawing | None:
    """Draw the first principal components of all, robust and normal models' filters."""
    pool = read_filter_pool(run)
    present = _present(pool) if pool is not None else {}
    if pool is None or not present:
        return None
    height, width = pool.kernel
    shown = min(SHOWN, height * width)
    bases = np.stack([pool.arrays["bases"][g, :shown] for g in present.values()])
    ratios = np.stack([pool.arrays["explained_variance_ratio"][g, :shown] for g in present.values()])
    limit = float(np.abs(bases).max())
    figure = new_figure(0.35 + 0.9 * len(present))
    axes = figure.subplots(len(present), shown, squeeze=False)
    for i, label in enumerate(present):
        for j in range(shown):
            axis = axes[i, j]
            image = axis.imshow(bases[i, j].reshape(height, width), cmap=diverging(), vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[], xlabel=f"{ratios[i, j]:.2f}")
            axis.grid(visible=False)
            axis.spines[:].set_visible(True)
            if i == 0:
                axis.set_title(f"v{j}")
        axes[i, 0].set_ylabel(label)
    figure.colorbar(image, ax=axes, shrink=0.9, pad=0.01, label="weight")
    rows = [
        (label, j, float(ratios[i, j]), k // width, k % width, float(bases[i, j, k]))
        for i, label in enumerate(present)
        for j in range(shown)
        for k in range(height * width)
    ]
    columns = ["group", "component", "explained_variance_ratio", "row", "column", "weight"]
    caption = (
        f"Principal components of the scaled, non-sparse {height}x{width} filters; below each, its share of the "
        f"variance. {_count(pool, present)}."
    )
    return Drawing(figure, pd.DataFrame(rows, columns=columns), caption)


def draw_cumulative(run: RunData) -> Drawing | None:
    """Draw the cumulative share of variance over the number of components."""
    pool = read_filter_pool(run)
    present = _present(pool) if pool is not None else {}
    if pool is None or not present:
        return None
    figure = new_figure(2.3, column=True)
    axis = figure.subplots()
    frames = []
    for label, g in present.items():
        share = np.cumsum(pool.arrays["explained_variance_ratio"][g])
        components = np.arange(1, len(share) + 1)
        mark = MARKS.get(label)
        colour, line, marker = (mark.colour, mark.line, mark.marker) if mark else _ALL
        axis.plot(components, share, color=colour, linestyle=line, marker=marker, label=label, clip_on=False)
        frames.append(pd.DataFrame({"group": label, "components": components, "cumulative_share": share}))
    axis.set_xlabel("principal components")
    axis.set_ylabel("cumulative share of\nexplained variance")
    axis.set_ylim(0, 1.03)
    axis.set_xticks(components[:: max(1, len(components) // 9)])
    axis.legend(loc="lower right")
    caption = f"Cumulative share of explained variance of the scaled, non-sparse filters. {_count(pool, present)}."
    return Drawing(figure, pd.concat(frames, ignore_index=True), caption)
