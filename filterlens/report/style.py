"""One look for every figure: presets of journals' widths and sizes, and what scales and labels axes.

A figure takes its size from `new_figure` and its marks from `filterlens.report.marks`; neither is set elsewhere.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from filterlens.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from pandas import Series

__all__ = [
    "COLUMN_WIDTH",
    "PAGE_WIDTH",
    "STYLES",
    "Style",
    "current_style",
    "diverging",
    "find_style",
    "new_figure",
    "paper_style",
    "plain_log",
    "row_label",
    "sequential",
    "settle_constant",
    "short",
    "square_root",
]


@dataclass(frozen=True, slots=True)
class Style:
    """Where a figure is printed.

    Parameters
    ----------
    name, about
        What it is called, and what for.
    page, column
        Widths of the text and of one of its columns, in inches; in a text of one column the second is half of it.
    height
        Highest figure that leaves room for its caption, in inches.
    size, ticks
        Points of titles and labels, and of tick labels and legends.
    family
        Fonts in order of preference; all come with matplotlib, and are embedded.
    lines
        Factor of line widths and sizes of marks.
    dpi
        Pixels an inch of the PNG file.
    columns
        Of the text: one or two.
    """

    name: str
    about: str
    page: float = 6.9
    column: float = 3.3
    height: float = 8.0
    size: float = 8.0
    ticks: float = 7.0
    family: tuple[str, ...] = ("DejaVu Sans",)
    lines: float = 1.0
    dpi: int = 200
    columns: int = 2

    @property
    def text_column(self) -> float:
        """Width of a column of the text, which is the page's where there is one."""
        return self.column if self.columns > 1 else self.page


_TIMES = ("STIXGeneral", "DejaVu Sans")  # a Times, as the papers' text
STYLES: Mapping[str, Style] = {
    style.name: style
    for style in (
        Style("plain", "a two-column paper of no particular journal, without serifs"),
        Style("neurips", "NeurIPS: one column of 5.5 in", 5.5, 2.65, 7.6, 9, 8, _TIMES, columns=1),
        Style("cvpr", "CVPR, ICCV, WACV: columns of 3.28 in, page 6.875 in", 6.875, 3.28125, 7.4, 9, 8, _TIMES),
        Style("icml", "ICML: columns of 3.25 in, page 6.75 in", 6.75, 3.25, 7.6, 9, 8, _TIMES),
        Style(
            "slides",
            "Beamer 16:9: 14 cm wide, at most 7.2 cm high",
            5.51,
            2.65,
            2.83,
            8,
            7,
            lines=1.2,
            dpi=350,
            columns=1,
        ),
    )
}
_CURRENT: ContextVar[Style] = ContextVar("style", default=STYLES["plain"])

COLUMN_WIDTH = STYLES["plain"].column
PAGE_WIDTH = STYLES["plain"].page
_LETTER = 0.6 / 72  # inches that a letter takes on average, a point of its size


def find_style(name: str) -> Style:
    """Return a preset by its name; empty: `plain`.

    Raises
    ------
    InputError
        There is none of that name.

    Examples
    --------
    >>> find_style("cvpr").page
    6.875
    """
    if (name or "plain") not in STYLES:
        raise InputError(f"no style of figures is called {name!r}; there are {', '.join(STYLES)}")
    return STYLES[name or "plain"]


def current_style() -> Style:
    """Return the preset of the block of `paper_style` that one is in; `plain` outside."""
    return _CURRENT.get()


def new_figure(height: float, *, width: float = 1.0, column: bool = False) -> Figure:
    """Make an empty figure as wide as the text.

    Parameters
    ----------
    height
        In inches; cut to what leaves room for a caption.
    width
        Fraction of the text's width.
    column
        Of one column's width instead.
    """
    from matplotlib.figure import Figure as MatplotlibFigure

    style = current_style()
    whole = style.column if column else style.page
    return MatplotlibFigure(figsize=(width * whole, min(height, style.height)))


def diverging() -> Colormap:
    """Purple, white, green: for weights and other signed values around zero."""
    from matplotlib import colormaps

    return colormaps["PRGn"]


def sequential() -> Colormap:
    """White to black: for values from zero up."""
    from matplotlib import colormaps

    return colormaps["Greys"]


def short(name: str, length: int = 28) -> str:
    """Cut a name to one line of at most `length` characters, its middle left out where it is longer.

    Examples
    --------
    >>> short("Carmon2019Unlabeled", 12)
    'Carmon…beled'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return line if len(line) <= length else f"{line[: length // 2]}…{line[length // 2 + 1 - length :]}"


def square_root(axes: Axes) -> None:
    """Scale the y axis, from zero up, by its square root: a large value leaves room for small ones to be seen."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    top = axes.get_ylim()[1]
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.clip(y, 0, None)), np.square))
    axes.set_ylim(0, top)
    unit = 10 ** np.floor(np.log10(top))
    axes.yaxis.set_major_locator(FixedLocator([f * unit for f in (0, 0.1, 0.5, 1, 2, 4, 6, 8) if f * unit <= top]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))


def plain_log(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis that is drawn already logarithmic, with plain numbers.

    Matplotlib's own labels need its math mode, which is off: a model's name might hold a formula.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axes.autoscale_view()
    low, high = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0) if high > 10 * low else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    axis.set_minor_formatter(NullFormatter())


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(value: float) -> str:
    """Write a tick as people do, without math mode.

    Examples
    --------
    >>> power_of_ten(0.02), power_of_ten(1e-5), power_of_ten(2e7), power_of_ten(0)
    ('0.02', '10⁻⁵', '2·10⁷', '0')
    """
    if value == 0 or 1e-4 < abs(value) < 1e5:
        return f"{value:g}".replace("-", "−")
    mantissa, exponent = f"{value:.0e}".split("e")
    raised = f"10{str(int(exponent)).translate(_RAISED)}"
    return raised if mantissa == "1" else f"{mantissa}·{raised}".replace("-", "−")


def row_label(axes: Axes, text: str, height: float) -> None:
    """Label the y axis of a row so many inches high: wrapped, and smaller where one word is longer than that."""
    size = current_style().size
    lines = textwrap.wrap(text, max(1, int(height / (_LETTER * size))), break_long_words=False) or [""]
    longest = max(map(len, lines)) * _LETTER * size
    axes.set_ylabel("\n".join(lines), fontsize=max(5.0, min(size, size * height / longest)))


def settle_constant(axes: Axes, values: Series, bounds: tuple[float | None, float | None]) -> None:
    """Show a score's whole range where the plotted values are all the same, so that one sees where in it they lie."""
    low, high = bounds
    if values.min() == values.max() and low is not None and high is not None:
        axes.set_ylim(low - 0.05 * (high - low), high)


@contextmanager
def paper_style(name: str = "") -> Iterator[None]:
    """Set matplotlib, and `new_figure`, to a preset for the time of the block.

    Parameters
    ----------
    name
        One of `STYLES`; empty keeps the one of an outer block, or takes `plain`.

    Raises
    ------
    InputError
        There is none of that name.
    """
    import matplotlib as mpl

    style = find_style(name) if name else current_style()
    settings: dict[str, Any] = {
        "font.family": list(style.family),
        "font.size": style.size,
        "axes.titlesize": style.size,
        "axes.labelsize": style.size,
        "figure.titlesize": style.size,
        "xtick.labelsize": style.ticks,
        "ytick.labelsize": style.ticks,
        "legend.fontsize": style.ticks,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6 * style.lines,
        "xtick.major.width": 0.6 * style.lines,
        "ytick.major.width": 0.6 * style.lines,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.25,
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.2 * style.lines,
        "lines.markersize": 3.5 * style.lines,
        "hatch.linewidth": 0.5,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "figure.dpi": 100,
        "savefig.dpi": style.dpi,
        "text.usetex": False,
        "text.parse_math": False,
        "figure.constrained_layout.use": True,
    }
    before = _CURRENT.set(style)
    try:
        with mpl.rc_context(settings):  # type: ignore[arg-type]
            yield
    finally:
        _CURRENT.reset(before)
