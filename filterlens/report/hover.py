"""Which model each mark of a drawn figure is, and where: so that the page can say it under the pointer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.report.formats import cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

__all__ = ["Grid", "Matrix", "Point", "cluster", "grid_of", "points_of"]

_MOST_ROWS = 100_000  # of a figure's data, beyond which its points stay without names


@dataclass(frozen=True, slots=True)
class Point:
    """One mark: where it is, as shares of the figure's width and height from its top left; its model and numbers."""

    x: float
    y: float
    model_id: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A figure that draws a value of every two models: ids in the drawn order, shown values, unit, axes."""

    model_ids: tuple[str, ...]
    shown: NDArray[np.float64]
    unit: str
    axes: Axes


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A matrix on the figure: its left, top, right and bottom as shares of the figure; see `Matrix`."""

    box: tuple[float, float, float, float]
    matrix: Matrix


def points_of(figure: MatplotlibFigure, data: pd.DataFrame) -> list[Point]:
    """Find the points of a figure that has been laid out, each with its model.

    A figure's data hold exactly the plotted numbers: a point is the model that alone has its coordinates there, or,
    where points are set apart sideways, its height. Points that several models share have no name.

    Parameters
    ----------
    figure
        Scatters, and lines with markers, are looked at.
    data
        Its numbers, with a column `model_id`.
    """
    holders = _holders(data)
    found = []
    for axes in figure.axes if holders else ():
        for x, y in _marks(axes):
            names = holders.get(x, set()) & holders.get(y, set()) or holders.get(y) or holders.get(x) or set()
            u, v = figure.transFigure.inverted().transform(axes.transData.transform((x, y))).tolist()
            if len(names) == 1 and 0 <= u <= 1 and 0 <= v <= 1:
                found.append(Point(u, 1 - v, next(iter(names)), _numbers(axes, x, y)))
    return found


def _holders(data: pd.DataFrame) -> dict[float, set[str]]:
    """Say which models have a number in the data."""
    if "model_id" not in data or len(data) > _MOST_ROWS:
        return {}
    numeric = data.select_dtypes(include="number")
    holders: dict[float, set[str]] = {}
    for name in numeric.columns:
        for model_id, value in zip(data["model_id"].tolist(), numeric[name].tolist(), strict=True):
            if math.isfinite(value):
                holders.setdefault(float(value), set()).add(str(model_id))
    return holders


def _marks(axes: Axes) -> Iterator[tuple[float, float]]:
    from matplotlib.collections import PathCollection

    for one in axes.collections:
        if isinstance(one, PathCollection):
            offsets = np.ma.filled(np.ma.asarray(one.get_offsets(), dtype=np.float64), np.nan)
            yield from ((x, y) for x, y in offsets.tolist() if math.isfinite(x) and math.isfinite(y))
    for line in axes.lines:
        if line.get_marker() not in {"", " ", "None", "none", None} and line.get_transform() == axes.transData:
            places = np.asarray(line.get_xydata(), dtype=np.float64)
            yield from ((x, y) for x, y in places.tolist() if math.isfinite(x) and math.isfinite(y))


def _numbers(axes: Axes, x: float, y: float) -> str:
    """Say a point's coordinates under the names of its axes, or of those that they are shared with."""
    beside, above = axes.get_shared_x_axes().get_siblings(axes), axes.get_shared_y_axes().get_siblings(axes)
    named = (
        (x, [one.xaxis.get_label_text() for one in (axes, *beside)]),
        (y, [one.yaxis.get_label_text() for one in (axes, *above)]),
    )
    texts = [(value, next((" ".join(label.split()) for label in labels if label), "")) for value, labels in named]
    return "; ".join(f"{name}: {cell(value)}" for value, name in texts if name)


def grid_of(figure: MatplotlibFigure, matrix: Matrix) -> Grid:
    """Find where a matrix lies on a figure that has been laid out."""
    corners = [(-0.5, -0.5), (len(matrix.model_ids) - 0.5, len(matrix.model_ids) - 0.5)]
    (x0, y0), (x1, y1) = figure.transFigure.inverted().transform(matrix.axes.transData.transform(corners)).tolist()
    return Grid((x0, 1 - y0, x1, 1 - y1), matrix)


def cluster(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order things so that alike ones are neighbours: leaves of average-linkage clustering, in optimal leaf order.

    Parameters
    ----------
    distances
        Symmetric, non-negative, shape (n, n); where one is not finite the largest stands in.

    Returns
    -------
        Indices in the new order, shape (n,).

    Examples
    --------
    >>> cluster(np.abs(np.subtract.outer([0.0, 9.0, 1.0, 8.0], [0.0, 9.0, 1.0, 8.0]))).tolist()
    [0, 2, 3, 1]
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(distances) < 3:
        return np.arange(len(distances))
    finite = np.isfinite(distances)
    filled = np.where(finite, distances, distances[finite].max(initial=0.0))
    filled = (filled + filled.T) / 2
    np.fill_diagonal(filled, 0.0)
    tree = linkage(squareform(filled, checks=False), method="average", optimal_ordering=len(filled) <= 1000)
    return np.asarray(leaves_list(tree), dtype=np.int64)
