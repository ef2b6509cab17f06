"""Figures of the manifold lens."""

from __future__ import annotations

from filterlens.report.figures.drawing import Figure

__all__ = ["FIGURES"]

FIGURES: tuple[Figure, ...] = ()
