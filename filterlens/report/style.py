"""One look for every figure: presets of journals' widths and sizes, one legend of marks, and what draws them.

A figure takes its size from `new_figure` and its marks from `MARKS`; nothing of either is set elsewhere.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from filterlens.errors import InputError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from pandas import Series

__all__ = [
    "CATEGORIES",
    "COLUMN_WIDTH",
    "MARKS",
    "MIN_BOX",
    "NEUTRAL",
    "NORMAL",
    "PAGE_WIDTH",
    "ROBUST",
    "SERIES",
    "STYLES",
    "Mark",
    "Style",
    "beside_row",
    "box_or_points",
    "current_style",
    "diverging",
    "find_style",
    "mark_handles",
    "mark_of",
    "new_figure",
    "paper_style",
    "plain_log",
    "points",
    "row_label",
    "sequential",
    "settle_constant",
    "short",
    "side_colour",
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
MIN_BOX = 5  # points below which quartiles say less than the points themselves


@dataclass(frozen=True, slots=True)
class Mark:
    """How a kind of model is drawn, wherever it is drawn.

    Parameters
    ----------
    label
        As legends say it.
    colour, marker, hatch, line
        Of points, of areas, of curves.
    """

    label: str
    colour: str
    marker: str
    hatch: str
    line: str


#: Okabe-Ito vermilion (lightness 53, dark in grey) and sky blue (70, light in grey); nothing else is of these colours.
MARKS: Mapping[str, Mark] = {
    "normal": Mark("normal", "#56B4E9", "o", "", "--"),
    "robust": Mark("robust", "#D55E00", "D", "////", "-"),
    "unknown": Mark("unknown", "#777777", "^", "....", ":"),
    "unpaired": Mark("unpaired", "#777777", "^", "....", ":"),  # where a side is pooled: on neither
}
ROBUST = MARKS["robust"].colour
NORMAL = MARKS["normal"].colour
NEUTRAL = "#555555"  # frames, crosses, notes: no model
CATEGORIES = (  # data sets: Okabe-Ito without the two above, each with a hatch for grey print that is no side's
    ("#0072B2", ""),
    ("#F0E442", "\\\\"),
    ("#009E73", "oo"),
    ("#CC79A7", "xx"),
    ("#BBBBBB", "++"),
    ("#222222", ""),
)
#: several curves that are no sides, such as trainings; colours and marks that no side has
SERIES = tuple(zip(("#0072B2", "#009E73", "#CC79A7", "#222222", "#A79F00", "#8A6BBE"), "svPX*p", strict=True))


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


def mark_of(robust: object) -> Mark:
    """Return the mark of a robust (True), normal (False) or unknown (anything else) model."""
    names: dict[object, str] = {True: "robust", False: "normal"}  # numpy's booleans are equal to Python's
    return MARKS[names.get(robust, "unknown")]


def side_colour(robust: object) -> str:
    """Colour of a robust (True), normal (False) or unknown (anything else) model."""
    return mark_of(robust).colour


def points(axis: Axes, x: ArrayLike, y: ArrayLike, mark: Mark, *, size: float = 16) -> None:
    """Draw models as points: framed, in front of lines, and whole where they lie on the edge of the axes."""
    scale = current_style().lines
    axis.scatter(
        np.asarray(x, dtype=float), np.asarray(y, dtype=float), s=size * scale**2, color=mark.colour,
        marker=mark.marker, edgecolors="black", linewidths=0.4 * scale, clip_on=False, zorder=3,
    )  # fmt: skip


def beside_row(axis: Axes, mark: Mark) -> None:
    """Draw a mark left of a picture: of which model a row of pictures is."""
    scale = current_style().lines
    axis.plot(
        [-0.5], [0.5], mark.marker, transform=axis.transAxes, color=mark.colour, clip_on=False, markersize=4 * scale,
        markeredgecolor="black", markeredgewidth=0.4 * scale,
    )  # fmt: skip


def box_or_points(axis: Axes, values: ArrayLike, place: float, mark: Mark, *, width: float = 0.32) -> None:
    """Draw the values of one group at a place: a box (quartiles, median, mean), or fewer than five as points."""
    values = np.asarray(values, dtype=float)
    scale = current_style().lines
    if len(values) < MIN_BOX:
        points(axis, np.full(len(values), place), values, mark, size=7)
        return
    thin = {"color": "black", "linewidth": 0.5 * scale}
    found = axis.boxplot(
        [values],
        positions=[place],
        widths=width,
        patch_artist=True,
        showmeans=True,
        manage_ticks=False,
        boxprops={"facecolor": mark.colour, "edgecolor": "black", "linewidth": 0.4 * scale, "hatch": mark.hatch},
        medianprops={"color": "black", "linewidth": 0.9 * scale},
        whiskerprops=thin,
        capprops=thin,
        flierprops={"marker": ".", "markersize": 2 * scale, "markerfacecolor": mark.colour, "markeredgewidth": 0.0},
        meanprops={"marker": "d", "markersize": 2.2 * scale, "markerfacecolor": "white", "markeredgecolor": "black"}
        | {"markeredgewidth": 0.4 * scale},
    )
    for line in (*found["fliers"], *found["means"]):
        line.set_clip_on(not len(line.get_xdata()))  # an unclipped empty line would break the layout


def mark_handles(present: Collection[str], kind: Literal["point", "area", "line"] = "point") -> list[Artist]:
    """Return handles for a legend of the sides that are present, in the order of `MARKS`."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    scale = current_style().lines
    frame = {"markeredgecolor": "black", "markeredgewidth": 0.4 * scale, "markersize": 4 * scale, "linestyle": ""}
    handles: list[Artist] = []
    for mark in (mark for name, mark in MARKS.items() if name in present):
        if kind == "area":
            area = {"facecolor": mark.colour, "hatch": mark.hatch, "edgecolor": "black", "linewidth": 0.4}
            handles.append(Patch(label=mark.label, **area))  # type: ignore[arg-type]
        elif kind == "line":
            handles.append(Line2D([], [], color=mark.colour, linestyle=mark.line, label=mark.label))  # type: ignore[arg-type]
        else:
            handles.append(Line2D([], [], color=mark.colour, marker=mark.marker, label=mark.label, **frame))  # type: ignore[arg-type]
    return handles


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
