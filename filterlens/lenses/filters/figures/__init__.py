"""Figures of the filters lens, in the order of the paper."""

from __future__ import annotations

from filterlens.lenses.filters.figures.bases import draw_bases, draw_cumulative
from filterlens.lenses.filters.figures.grids import draw_first, draw_last, draw_rgb
from filterlens.lenses.filters.figures.ridge import draw_ridge
from filterlens.lenses.filters.figures.shift import draw_shift_by_depth, draw_shift_of_models
from filterlens.report.figure import Figure

__all__ = ["FIGURES"]

FIGURES: tuple[Figure, ...] = (
    Figure("filters_bases", "filters", "Principal components of filters", draw_bases),
    Figure("filters_cumulative", "filters", "Cumulative explained variance", draw_cumulative),
    Figure("filters_ridge", "filters", "Distribution of coefficients", draw_ridge),
    Figure("filters_shift_depth", "filters", "Distribution shift by depth", draw_shift_by_depth),
    Figure("filters_shift_models", "filters", "Distribution shift between models", draw_shift_of_models),
    Figure("filters_first", "filters", "Kernels of the first convolution", draw_first),
    Figure("filters_last", "filters", "Kernels of the last convolution", draw_last),
    Figure("filters_rgb", "filters", "The first convolution in colour", draw_rgb),
)
