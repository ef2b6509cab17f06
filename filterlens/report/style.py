"""One look for every figure: two-column paper, colour-blind safe, readable in grey, headless."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["COLUMN_WIDTH", "NEUTRAL", "NORMAL", "PAGE_WIDTH", "ROBUST", "paper_style"]

ROBUST = "#D55E00"  # Okabe-Ito vermilion: lightness 53, dark in grey
NORMAL = "#56B4E9"  # Okabe-Ito sky blue: lightness 70, light in grey
NEUTRAL = "#555555"
COLUMN_WIDTH = 3.3  # inches, one column of a two-column paper
PAGE_WIDTH = 6.9


@contextmanager
def paper_style() -> Iterator[None]:
    """Set matplotlib to the house's look for the time of the block."""
    import matplotlib as mpl

    settings: dict[str, Any] = {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.2,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "figure.dpi": 100,
        "savefig.dpi": 200,
        "text.usetex": False,
        "text.parse_math": False,
        "figure.constrained_layout.use": True,
    }
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield
