"""One legend of marks for every figure: how robust, normal and other models look, and what draws them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from filterlens.report.style import current_style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = [
    "CATEGORIES",
    "MARKS",
    "MIN_BOX",
    "NEUTRAL",
    "NORMAL",
    "ROBUST",
    "SERIES",
    "Mark",
    "beside_row",
    "box_or_points",
    "by_mark",
    "mark_handles",
    "mark_of",
    "points",
    "side_colour",
]

MIN_BOX = 5  # points below which quartiles say less than the points themselves


@dataclass(frozen=True, slots=True)
class Mark:
    """How a kind of model is drawn, wherever it is drawn.

    Parameters
    ----------
    label
        As legends say it.
    colour, marker, hatch, line
        Of points, of areas, of curves.
    """

    label: str
    colour: str
    marker: str
    hatch: str
    line: str


#: Okabe-Ito vermilion (lightness 53, dark in grey) and sky blue (70, light in grey); nothing else is of these colours.
MARKS: Mapping[str, Mark] = {
    "normal": Mark("normal", "#56B4E9", "o", "", "--"),
    "robust": Mark("robust", "#D55E00", "D", "////", "-"),
    "unknown": Mark("unknown", "#777777", "^", "....", ":"),
    "unpaired": Mark("unpaired", "#777777", "^", "....", ":"),  # where a side is pooled: on neither
}
ROBUST = MARKS["robust"].colour
NORMAL = MARKS["normal"].colour
NEUTRAL = "#555555"  # frames, crosses, notes: no model
CATEGORIES = (  # data sets: Okabe-Ito without the two above, each with a hatch for grey print that is no side's
    ("#0072B2", ""),
    ("#F0E442", "\\\\"),
    ("#009E73", "oo"),
    ("#CC79A7", "xx"),
    ("#BBBBBB", "++"),
    ("#222222", ""),
)
#: several curves that are no sides, such as trainings; colours and marks that no side has
SERIES = tuple(zip(("#0072B2", "#009E73", "#CC79A7", "#222222", "#A79F00", "#8A6BBE"), "svPX*p", strict=True))


def by_mark(models: pd.DataFrame) -> Iterator[tuple[Mark, pd.DataFrame]]:
    """Yield the rows that are drawn alike, with their mark, by the column `robust`."""
    # a plain list of labels would be taken for names of columns where all of them are
    labels = pd.Series([mark_of(robust).label for robust in models["robust"]], index=models.index, dtype=object)
    for label, part in models.groupby(labels):
        yield MARKS[str(label)], part


def mark_of(robust: object) -> Mark:
    """Return the mark of a robust (True), normal (False) or unknown (anything else) model."""
    names: dict[object, str] = {True: "robust", False: "normal"}  # numpy's booleans are equal to Python's
    return MARKS[names.get(robust, "unknown")]


def side_colour(robust: object) -> str:
    """Colour of a robust (True), normal (False) or unknown (anything else) model."""
    return mark_of(robust).colour


def points(axis: Axes, x: ArrayLike, y: ArrayLike, mark: Mark, *, size: float = 16) -> None:
    """Draw models as points: framed, in front of lines, and whole where they lie on the edge of the axes."""
    scale = current_style().lines
    axis.scatter(
        np.asarray(x, dtype=float), np.asarray(y, dtype=float), s=size * scale**2, color=mark.colour,
        marker=mark.marker, edgecolors="black", linewidths=0.4 * scale, clip_on=False, zorder=3,
    )  # fmt: skip


def beside_row(axis: Axes, mark: Mark) -> None:
    """Draw a mark left of a picture: of which model a row of pictures is."""
    scale = current_style().lines
    axis.plot(
        [-0.5], [0.5], mark.marker, transform=axis.transAxes, color=mark.colour, clip_on=False, markersize=4 * scale,
        markeredgecolor="black", markeredgewidth=0.4 * scale,
    )  # fmt: skip


def box_or_points(axis: Axes, values: ArrayLike, place: float, mark: Mark, *, width: float = 0.32) -> None:
    """Draw the values of one group at a place: a box (quartiles, median, mean), or fewer than five as points."""
    values = np.asarray(values, dtype=float)
    scale = current_style().lines
    if len(values) < MIN_BOX:
        points(axis, np.full(len(values), place), values, mark, size=7)
        return
    thin = {"color": "black", "linewidth": 0.5 * scale}
    found = axis.boxplot(
        [values],
        positions=[place],
        widths=width,
        patch_artist=True,
        showmeans=True,
        manage_ticks=False,
        boxprops={"facecolor": mark.colour, "edgecolor": "black", "linewidth": 0.4 * scale, "hatch": mark.hatch},
        medianprops={"color": "black", "linewidth": 0.9 * scale},
        whiskerprops=thin,
        capprops=thin,
        flierprops={"marker": ".", "markersize": 2 * scale, "markerfacecolor": mark.colour, "markeredgewidth": 0.0},
        meanprops={"marker": "d", "markersize": 2.2 * scale, "markerfacecolor": "white", "markeredgecolor": "black"}
        | {"markeredgewidth": 0.4 * scale},
    )
    for line in (*found["fliers"], *found["means"]):
        line.set_clip_on(not len(line.get_xdata()))  # an unclipped empty line would break the layout


def mark_handles(present: Collection[str], kind: Literal["point", "area", "line"] = "point") -> list[Artist]:
    """Return handles for a legend of the sides that are present, in the order of `MARKS`."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    scale = current_style().lines
    frame = {"markeredgecolor": "black", "markeredgewidth": 0.4 * scale, "markersize": 4 * scale, "linestyle": ""}
    handles: list[Artist] = []
    for mark in (mark for name, mark in MARKS.items() if name in present):
        if kind == "area":
            area = {"facecolor": mark.colour, "hatch": mark.hatch, "edgecolor": "black", "linewidth": 0.4}
            handles.append(Patch(label=mark.label, **area))  # type: ignore[arg-type]
        elif kind == "line":
            handles.append(Line2D([], [], color=mark.colour, linestyle=mark.line, label=mark.label))  # type: ignore[arg-type]
        else:
            handles.append(Line2D([], [], color=mark.colour, marker=mark.marker, label=mark.label, **frame))  # type: ignore[arg-type]
    return handles
