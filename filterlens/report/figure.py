"""What a figure function is and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from filterlens.report.data import RunData

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
    """

    figure: MatplotlibFigure
    data: pd.DataFrame
    caption: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that a report may hold: file name, heading and the function that draws it."""

    name: str
    lens: str
    title: str
    draw: Callable[[RunData], Drawing | None]


@dataclass(frozen=True, slots=True)
class FinishedFigure:
    """A figure that was written, as the page shows it."""

    figure: Figure
    caption: str
    png: bytes
