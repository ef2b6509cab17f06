"""Figures of the filters lens, in the order of the paper."""

from __future__ import annotations

from filterlens.report.figures.drawing import Figure
from filterlens.report.figures.filters_depth import draw_depth

__all__ = ["FIGURES"]

FIGURES: tuple[Figure, ...] = (
    Figure("filters_depth", "filters", "Filter quality by depth", draw_depth),
)
