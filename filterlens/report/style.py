"""One look for every figure: two-column paper, colour-blind safe, readable in grey, headless."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from pandas import Series

__all__ = [
    "CATEGORIES",
    "COLUMN_WIDTH",
    "NEUTRAL",
    "NORMAL",
    "PAGE_WIDTH",
    "ROBUST",
    "diverging",
    "paper_style",
    "plain_log",
    "settle_constant",
    "short",
]

ROBUST = "#D55E00"  # Okabe-Ito vermilion: lightness 53, dark in grey
NORMAL = "#56B4E9"  # Okabe-Ito sky blue: lightness 70, light in grey
NEUTRAL = "#555555"
COLUMN_WIDTH = 3.3  # inches, one column of a two-column paper
PAGE_WIDTH = 6.9
CATEGORIES = (  # Okabe-Ito without the two above, each with a hatch for grey print
    ("#0072B2", ""),
    ("#F0E442", "//"),
    ("#009E73", ".."),
    ("#CC79A7", "\\\\"),
    ("#BBBBBB", "xx"),
    ("#222222", ""),
)


def diverging() -> Colormap:
    """Blue, white, orange: for weights and other signed values around zero."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("filterlens", ["#004C7F", "#56B4E9", "#FFFFFF", "#E8853A", "#8F3A00"])


def side_colour(robust: object) -> str:
    """Colour of a robust (True), normal (False) or unknown (anything else) model."""
    colours: dict[object, str] = {True: ROBUST, False: NORMAL}  # numpy's booleans are equal to Python's
    return colours.get(robust, NEUTRAL)


def short(name: str, length: int = 28) -> str:
    """Cut a name to one line of at most `length` characters, its middle left out where it is longer.

    Examples
    --------
    >>> short("Carmon2019Unlabeled", 12)
    'Carmon…beled'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return line if len(line) <= length else f"{line[: length // 2]}…{line[length // 2 + 1 - length :]}"


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
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def settle_constant(axes: Axes, values: Series, bounds: tuple[float | None, float | None]) -> None:
    """Show a score's whole range where the plotted values are all the same, so that one sees where in it they lie."""
    low, high = bounds
    if values.min() == values.max() and low is not None and high is not None:
        axes.set_ylim(low - 0.05 * (high - low), high)


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
