"""What a figure function is and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from filterlens.report.data import RunData
from filterlens.report.hover import Grid, Matrix, Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

__all__ = ["Drawing", "Figure", "FinishedFigure"]


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One finished figure.

    Parameters
    ----------
    figure
        The matplotlib figure.
    data
        Exactly the plotted numbers, tidy.
    caption
        What is shown, on how many models; plain text, ready for a paper.
    matrix
        Where it draws a value of every two models: which, so that the page says them under the pointer. Points say
        theirs by themselves, from `model_id` and the numbers in `data`.
    """

    figure: MatplotlibFigure
    data: pd.DataFrame
    caption: str
    matrix: Matrix | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that a report may hold: file name, heading and the function that draws it."""

    name: str
    lens: str
    title: str
    draw: Callable[[RunData], Drawing | None]


@dataclass(frozen=True, slots=True, eq=False)
class FinishedFigure:
    """A figure that was written, as the page shows it.

    Parameters
    ----------
    figure, caption
        Which, and what it shows.
    image
        As `filterlens.report.inline.inline_image` returns it.
    points, grid
        What lies under the pointer.
    """

    figure: Figure
    caption: str
    image: tuple[bytes, int, int]
    points: list[Point] = field(default_factory=list)
    grid: Grid | None = None
