"""Figures of a paper, one function each; every lens has its file and lists them in `FIGURES`.

A figure function takes the run's data and returns a `Drawing`, or None where the run holds nothing for it. It
draws with `matplotlib.figure.Figure`, never with pyplot, so that no state is left behind.
"""

from __future__ import annotations

from filterlens.report.figures.drawing import Drawing, Figure

__all__ = ["Drawing", "Figure"]
