"""One score against another, a mark a model, as SVG: shown without JavaScript, laid out anew by the page's script.

A mark links to its model and says its name and numbers. Beyond some number of models they are counted in cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.report.formats import cell

__all__ = ["MOST_MARKS", "Axis", "Chart", "Mark", "scatter", "ticks"]

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 748, 14, 372
MOST_MARKS = 1500
CELLS = (56, 32)
Values = NDArray[np.float64]
SIDES: Mapping[object, str] = {True: "robust", False: "normal"}


@dataclass(frozen=True, slots=True)
class Mark:
    """One model, or the models of a cell: place and size in the picture, side, text, and which model it is."""

    x: float
    y: float
    side: str
    text: str
    model_id: str = ""
    width: float = 0.0
    height: float = 0.0
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows, and its ticks: place in the picture and label."""

    key: str
    label: str
    ticks: list[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A scatter: its two axes, its marks, and how many models lack one of the two values."""

    x: Axis
    y: Axis
    marks: list[Mark]
    missing: int


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers between two numbers, 1, 2 or 5 times a power of ten apart.

    Examples
    --------
    >>> ticks(0.13, 0.91)
    [0.2, 0.4, 0.6, 0.8]
    """
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{step * i:.12g}") for i in range(first, last + 1)]


def scatter(models: pd.DataFrame, x: tuple[str, str], y: tuple[str, str]) -> Chart | None:
    """Lay out one column against another.

    Parameters
    ----------
    models
        One row a model, as `RunData.models` gives it.
    x, y
        Key and label of each axis.

    Returns
    -------
        None where fewer than two models have both values.
    """
    known = models[models[x[0]].notna() & models[y[0]].notna()]
    if len(known) < 2:
        return None
    a, b = known[x[0]].to_numpy(np.float64), known[y[0]].to_numpy(np.float64)
    horizontal, vertical = _axis(a, x, LEFT, RIGHT), _axis(b, y, BOTTOM, TOP)
    u, v = _place(a, LEFT, RIGHT), _place(b, BOTTOM, TOP)
    sides = [SIDES.get(one, "unknown") for one in known["robust"]]
    if len(known) > MOST_MARKS:
        marks = _cells(u, v, sides)
    else:
        marks = [
            Mark(
                *(round(float(u[i]), 1), round(float(v[i]), 1), sides[i]),
                f"{name}\n{x[1]}: {cell(float(a[i]))}\n{y[1]}: {cell(float(b[i]))}",
                str(name),
            )
            for i, name in enumerate(known.index)
        ]
    return Chart(horizontal, vertical, marks, len(models) - len(known))


def _limits(values: Values) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or abs(low) * 0.05 or 0.5
    return low - margin, high + margin


def _place(values: Values, start: float, end: float) -> Values:
    low, high = _limits(values)
    return np.asarray(start + (values - low) / (high - low) * (end - start))


def _axis(values: Values, what: tuple[str, str], start: float, end: float) -> Axis:
    low, high = _limits(values)
    places = [(start + (tick - low) / (high - low) * (end - start), tick) for tick in ticks(low, high)]
    return Axis(*what, [(round(place, 1), f"{tick:g}".replace("-", "−")) for place, tick in places])


def _cells(u: Values, v: Values, sides: Sequence[str]) -> list[Mark]:
    """Count the models of each cell; its side is that of most of them."""
    columns, rows = CELLS
    width, height = (RIGHT - LEFT) / columns, (BOTTOM - TOP) / rows
    found: dict[tuple[int, int], dict[str, int]] = {}
    for x, y, side in zip(u, v, sides, strict=True):
        place = min(int((x - LEFT) / width), columns - 1), min(int((y - TOP) / height), rows - 1)
        counts = found.setdefault(place, {})
        counts[side] = counts.get(side, 0) + 1
    most = max(sum(counts.values()) for counts in found.values())
    return [
        Mark(
            *(round(LEFT + i * width, 1), round(TOP + j * height, 1), max(counts, key=lambda side: counts[side])),
            ", ".join(f"{n} {side}" for side, n in sorted(counts.items())),
            "",
            *(round(width, 1), round(height, 1), round(0.2 + 0.8 * math.sqrt(sum(counts.values()) / most), 2)),
        )
        for (i, j), counts in sorted(found.items())
    ]
