"""Curves of many models, thin, and the mean of each side's paired ones, thick: what several figures are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pandas as pd

from filterlens.dumps import DumpGroup
from filterlens.report.comparison import sides_of_pairs
from filterlens.report.data import RunData
from filterlens.report.marks import MARKS, mark_of
from filterlens.report.style import current_style, power_of_ten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FEW", "draw_side_curves", "flatness_groups", "scale_long_tail"]


def flatness_groups(run: RunData, dataset: str) -> Iterator[tuple[dict[str, object], DumpGroup]]:
    """Read every model whose dump has a dataset: its id, side, whether it is paired, and the lens's group."""
    scored = set(run.lens_scores("flatness")["model_id"])
    sides = sides_of_pairs(run.models[run.models.index.isin(scored)])
    for entry in run.catalog:
        if entry.model_id not in scored:
            continue
        side, paired = mark_of(entry.robust).label, sides[entry.model_id] != "unpaired"
        with run.dump(entry.model_id) as dump:
            group = dump.lens("flatness")
            if dataset in group:
                yield {"model_id": entry.model_id, "side": side, "paired": paired}, group


FEW = 5
"""Places of a curve, of which each is marked."""


def draw_side_curves(axis: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    """Draw a thin line a model and a thick one, the mean, for each side's paired models."""
    scale = current_style().lines
    dots = {"marker": "o", "markersize": 4 * scale} if data[x].nunique() <= FEW else {}
    for side, mark in MARKS.items():
        look = {"color": mark.colour, "linestyle": mark.line}
        chosen = data[data["side"] == side]
        for _, curve in chosen.groupby("model_id", sort=False):
            axis.plot(curve[x], curve[y], linewidth=0.6 * scale, alpha=0.5, **look)  # type: ignore[arg-type]
        paired = chosen[chosen["paired"]]
        if len(paired):
            mean = paired.groupby(x)[y].mean()
            axis.plot(mean.index, mean, linewidth=2 * scale, label=f"{side} (mean of pairs)", **look, **dots)  # type: ignore[arg-type]


def scale_long_tail(axis: Axes, which: Literal["x", "y"], values: pd.Series) -> None:
    """Logarithmic on both sides of 0 where a few values would squeeze all others together."""
    from matplotlib.ticker import FuncFormatter

    size = values.abs().dropna()
    size = size[size > 0]
    if len(size) and size.max() > 20 and size.max() / size.median() > 10:
        (axis.set_xscale if which == "x" else axis.set_yscale)("symlog", linthresh=1.0)
        plain = axis.xaxis if which == "x" else axis.yaxis
        plain.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
