"""One look for every figure: exact widths, embedded fonts, whole marks, one colour for one thing, at every preset."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.lines import Line2D

import filterlens
from filterlens.commands.report import all_figures
from filterlens.errors import InputError
from filterlens.report.data import RunData, read_run
from filterlens.report.depth import depth_figure
from filterlens.report.drawing import draw
from filterlens.report.marks import CATEGORIES, MARKS, SERIES, box_or_points, mark_handles, points
from filterlens.report.style import (
    STYLES,
    current_style,
    find_style,
    new_figure,
    paper_style,
    power_of_ten,
    row_label,
    square_root,
)
from filterlens.report.write import write_report, written_style

PACKAGE = Path(filterlens.__file__).parent
# textwidth, columnsep and textheight of the style files: neurips_2025.sty, cvpr.sty, icml2025.sty
PUBLISHED = {"neurips": (5.5, 5.5, 9.0), "cvpr": (6.875, (6.875 - 0.3125) / 2, 8.875), "icml": (6.75, 3.25, 9.0)}


@pytest.fixture
def run(make_run: Callable[..., Path]) -> RunData:
    return read_run(make_run(8, pictures=True))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_is_as_wide_as_the_journals_text(name: str) -> None:
    page, column, height = PUBLISHED[name]
    assert STYLES[name].page == page
    assert STYLES[name].column == pytest.approx(column) or page == column  # half of one column otherwise
    assert STYLES[name].height < height - 1, "room for a caption"
    with paper_style(name):
        assert new_figure(2).get_size_inches().tolist() == pytest.approx([page, 2])
        assert new_figure(50).get_figheight() == STYLES[name].height
    assert current_style().name == "plain"


def test_an_unknown_style_is_named_with_those_there_are(make_run: Callable[..., Path]) -> None:
    said = "no style of figures is called 'nature'; there are plain, neurips, cvpr, icml, slides"
    with pytest.raises(InputError, match=said):
        find_style("nature")
    with pytest.raises(InputError, match=said):
        write_report(make_run(2), style="nature")


QUICK = ("filters_depth", "filters_shift_depth", "filters_ridge", "downsampling_accuracy")


@pytest.mark.parametrize(
    ("style", "names"), [("neurips", QUICK), *(pytest.param(style, (), marks=pytest.mark.slow) for style in STYLES)]
)
def test_figures_are_as_wide_as_asked_with_embedded_fonts_and_whole_marks(
    run: RunData, style: str, names: tuple[str, ...]
) -> None:
    """Warnings are errors here: a layout that does not fit is one."""
    shown = [figure for figure in all_figures() if figure.name in names or not names]
    drawn = [(figure, found) for figure in shown if (found := draw(figure, replace(run, style=style)))]
    assert len(drawn) >= (len(names) or 10)
    for figure, (drawing, pdf, png) in drawn:
        width = float(re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)[0]) / 72
        assert width <= STYLES[style].page + 1e-6
        assert drawing.figure.get_figheight() <= STYLES[style].height
        if figure.name in {"filters_depth", "filters_shift_depth", "filters_bases", "downsampling_operations"}:
            assert width == pytest.approx(STYLES[style].page)
        assert b"/FontFile2" in pdf
        assert b"/Type3" not in pdf
        assert png.startswith(b"\x89PNG")
        assert not clipped(drawing.figure), figure.name


def clipped(figure: MatplotlibFigure) -> list[str]:
    """Name marks whose centre is outside its axes, or that are cut off at the edge."""
    found = []
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    for axis in figure.axes:
        box = axis.bbox
        for artist in (*axis.lines, *axis.collections):
            one: Any = artist
            if isinstance(artist, PathCollection):
                places = one.get_offset_transform().transform(np.ma.getdata(one.get_offsets()))
                size = np.sqrt(one.get_sizes().max()) * figure.dpi / 72 / 2
            elif isinstance(artist, Line2D) and artist.get_marker() not in {"None", "", " ", None}:
                places = one.get_transform().transform(np.column_stack(one.get_data()))
                size = one.get_markersize() * figure.dpi / 72 / 2
            else:
                continue
            inside = (places > [box.x0 - 0.5, box.y0 - 0.5]) & (places < [box.x1 + 0.5, box.y1 + 0.5])
            whole = (places > [box.x0 + size, box.y0 + size]) & (places < [box.x1 - size, box.y1 - size])
            beside = artist.get_clip_on() is False and axis.images  # the mark of a row of pictures stands before it
            if len(places) and not ((inside.all() or beside) and (whole.all() or not artist.get_clip_on())):
                found.append(f"{axis.get_ylabel()}: {artist}")
    return found


def test_a_mark_that_is_cut_off_would_be_found() -> None:
    figure = MatplotlibFigure()
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], "o")
    axis.set_xlim(0, 1)
    assert clipped(figure)


def test_colours_of_the_sides_are_of_nothing_else() -> None:
    colours = {mark.colour.lower() for mark in MARKS.values()}
    assert not colours & {colour.lower() for colour, _ in (*CATEGORIES, *SERIES)}
    assert not {mark.marker for mark in MARKS.values()} & {marker for _, marker in SERIES}
    assert not {mark.hatch for mark in MARKS.values() if mark.hatch} & {hatch for _, hatch in CATEGORIES}
    for mark in MARKS.values():
        assert mark.colour == to_hex(mark.colour).upper()


def test_no_other_file_sets_sizes_fonts_or_the_colours_of_sides() -> None:
    own = "|".join(mark.colour for mark in MARKS.values())
    set_elsewhere = re.compile(rf"figsize|font_?size=[\d.]+[,)]|fontfamily|rcParams|{own}|magma|E69F00", re.IGNORECASE)
    allowed = {"style.py", "marks.py", "style.css", "shift.py"}  # labels of a heat map shrink with the number of models
    for path in (path for path in PACKAGE.rglob("*.py") if "matplotlib" in path.read_text("utf-8")):
        if path.name not in allowed:
            assert not set_elsewhere.findall(path.read_text("utf-8")), path


def test_four_values_are_points_and_five_a_box() -> None:
    with paper_style():
        axis = new_figure(2).subplots()
        box_or_points(axis, [1, 2, 3, 4], 0, MARKS["robust"])
        assert len(axis.patches) == 0
        assert np.asarray(axis.collections[0].get_offsets())[:, 1].tolist() == [1, 2, 3, 4]
        box_or_points(axis, [1, 2, 3, 4, 5], 1, MARKS["normal"])
        assert len(axis.patches) == 1
        assert to_hex(axis.patches[0].get_facecolor()).upper() == MARKS["normal"].colour


KINDS: tuple[Literal["point", "area", "line"], ...] = ("point", "area", "line")


def test_one_legend_says_colour_marker_hatch_and_line() -> None:
    with paper_style():
        labels = [str(handle.get_label()) for handle in mark_handles({"unknown", "robust", "normal"})]
        assert labels == ["normal", "robust", "unknown"]
        axis = new_figure(2).subplots()
        points(axis, [0], [0], MARKS["robust"])
        (point,), (area,), (line,) = (mark_handles({"robust"}, kind) for kind in KINDS)
        assert point.get_marker() == "D"  # type: ignore[attr-defined]
        assert area.get_hatch() == "////"  # type: ignore[attr-defined]
        assert line.get_linestyle() == "-"  # type: ignore[attr-defined]


def test_ticks_and_labels_read_as_people_write_them() -> None:
    assert [power_of_ten(v) for v in (0, 1, 0.05, 1e-4, 1e-7, -3e6, 1e5)] == [
        *("0", "1", "0.05", "10⁻⁴", "10⁻⁷", "−3·10⁶", "10⁵"),
    ]
    with paper_style():
        axis = new_figure(2).subplots()
        row_label(axis, "mean orthogonality", 0.5)
        assert axis.get_ylabel() == "mean\northogonality"
        assert float(axis.yaxis.label.get_fontsize()) < STYLES["plain"].size
        axis.set_ylim(0, 5.5)
        square_root(axis)
        assert axis.transData.transform([0, 1.375])[1] == pytest.approx(np.mean([axis.bbox.y0, axis.bbox.y1]))


def test_the_style_is_that_of_run_toml_unless_another_is_given(make_run: Callable[..., Path]) -> None:
    folder = make_run(8)
    depth = depth_figure("filters")
    (folder / "run.toml").write_text('[run]\nstyle = "icml"\n')

    def width() -> object:
        found = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", (folder / "figures" / "filters_depth.pdf").read_bytes())
        return round(float(found[0]) / 72, 6)

    write_report(folder, figures=[depth])
    assert (width(), written_style(folder)) == (6.75, "icml")
    write_report(folder, figures=[depth], style="neurips")
    assert (width(), written_style(folder)) == (5.5, "neurips")
    with paper_style("slides"):
        assert filterlens.Run(folder).figure("filters_depth").get_figwidth() == 6.75
    assert filterlens.Run(folder).figure("filters_depth", style="cvpr").get_figwidth() == 6.875
