"""Write a report: tables, figures and one page, each file there whole or not there."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from filterlens.errors import FilterlensError, InputError, WriteError
from filterlens.process.files import write_atomically
from filterlens.report.cautions import cautions_table, mixed_options, read_settings
from filterlens.report.comparison import pair_models
from filterlens.report.data import RunData, read_run
from filterlens.report.figure import Drawing, Figure, FinishedFigure
from filterlens.report.formats import Column, Table, frame_to_csv, to_csv, to_markdown
from filterlens.report.hover import grid_of, points_of
from filterlens.report.latex import chosen_columns, to_latex
from filterlens.report.page import render_page
from filterlens.report.style import find_style, paper_style
from filterlens.report.tables import TableMaker, report_tables
from filterlens.runs.folder import lock_folder

__all__ = ["ReportWarning", "write_report", "written_style"]

Progress = Callable[[int, int], None]
_OWN = re.compile(r"(tables|figures)/[\w.-]+")
_DUMP = re.compile(r"\S*/dumps/\S+\.h5")
_MOST_LEFT_OUT = 20  # models: a figure that fails on more of them is itself at fault
_MANIFEST = "report.json"


class ReportWarning(UserWarning):
    """A part of the report could not be made; the rest is there."""


def write_report(
    folder: Path,
    *,
    figures: Sequence[Figure] = (),
    tables: Sequence[TableMaker] = (),
    inline: bool = True,
    first_stage_pair: str = "",
    style: str = "",
    progress: Progress | None = None,
) -> Path:
    """Write `tables/`, `figures/` and `index.html` into a run's folder.

    Parameters
    ----------
    folder
        A finished audit's folder (see `filterlens.report.read_run`).
    figures
        Figures to draw, in order; those that the run holds nothing for are left out.
    tables
        Lenses' own tables, likewise.
    inline
        Put the figures into the page, so that it is one file; otherwise it shows `figures/*.png` beside it.
    first_stage_pair
        The robust model whose first stage is drawn, beside its normal one's; empty: the first pair.
    style
        Preset of the figures (see `filterlens.report.style`); empty: that of `run.toml`, or `plain`.
    progress
        Called as `progress(done, total)` after each step.

    Returns
    -------
        Path of `index.html`.

    Raises
    ------
    ReportError
        The folder holds no finished analysis.
    InputError
        `first_stage_pair` is no robust model of the run with a matched normal one, or there is no such style.
    AuditLockedError
        An audit or another report works on the folder.
    WriteError
        The disk is full or the folder cannot be written; every file is there whole or not there.

    Warns
    -----
    ReportWarning
        A figure failed; the report says so too and holds everything else.
    """
    run = read_run(folder)
    run = replace(run, first_stage_pair=first_stage_pair, style=find_style(style or run.style).name)
    if first_stage_pair and first_stage_pair not in set(pair_models(run.models)["robust"]):
        raise InputError(
            f"{first_stage_pair!r} is no robust model of this run with a matched normal one; "
            f"there are {', '.join(pair_models(run.models)['robust']) or 'no pairs'}"
        )
    with lock_folder(folder):
        return _write_all(run, figures, tables, inline=inline, step=progress or (lambda done, total: None))


def _write_all(
    run: RunData, figures: Sequence[Figure], lens_tables: Sequence[TableMaker], *, inline: bool, step: Progress
) -> Path:
    total = len(figures) + 2
    writer = _Writer(run.folder, run.duplicates)
    failed: dict[str, str] = {}
    settings = read_settings(run)
    cautions = cautions_table(run, settings)
    tables = report_tables(run, lens_tables, failed, mixed_options(run, settings))
    tables = [cautions, *tables] if len(cautions.frame) else tables
    for name, said in failed.items():
        warnings.warn(f"table {name!r} could not be made: {said}", ReportWarning, stacklevel=2)
    for table in [*tables, code_book(tables)]:
        writer.write(f"tables/{table.name}.csv", to_csv(table).encode("utf-8", "replace"))
        latex = to_latex(chosen_columns(table), style=run.style)
        writer.write(f"tables/{table.name}.tex", latex.encode("utf-8", "replace"))
        writer.write(f"tables/{table.name}.md", to_markdown(table).encode("utf-8", "replace"))
    step(1, total)
    finished: list[FinishedFigure] = []
    for done, figure in enumerate(figures, start=2):
        drawn, without, said = _draw_what_can_be(figure, run)
        if drawn is not None:
            finished.append(_write_figure(writer, figure, *drawn))
        if without or said:
            failed[figure.title] = f"{_left_out(without)}{said}".removesuffix("; ")
            verb = "was drawn" if drawn is not None else "could not be drawn:"
            warnings.warn(f"figure {figure.name!r} {verb} {failed[figure.title]}", ReportWarning, stacklevel=2)
        step(done, total)
    page = render_page(run, tables, finished, failed, settings=settings, inline=inline)
    for name, text in page.beside.items():
        writer.write(name, text.encode("utf-8", "replace"))
    index = writer.write("index.html", page.index.encode("utf-8", "replace"))
    writer.forget_stale(run.style)
    step(total, total)
    return index


def code_book(tables: Sequence[Table]) -> Table:
    """Say what every column of every table means: the units and directions that CSV headings leave out."""
    import pandas as pd

    rows = [
        {"table": t.name, "column": key, "heading": c.head, "unit": c.unit, "better": c.better, "about": c.about}
        for t in tables
        for c in t.columns
        for key in c.keys
    ]
    columns = tuple(Column(name, name, "text" if name == "about" else "name") for name in rows[0])
    return Table("columns", "Columns", "What each column of each table means.", pd.DataFrame(rows), columns)


def draw(figure: Figure, run: RunData) -> tuple[Drawing, bytes, bytes] | None:
    """Draw one figure in the run's style; return it with its PDF and PNG, or None where there is nothing to draw."""
    with paper_style(run.style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)  # names in any script
        drawing = figure.draw(run)
        if drawing is None:
            return None
        pdf, png = io.BytesIO(), io.BytesIO()
        drawing.figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Title": figure.title})
        drawing.figure.set_layout_engine("none")  # it is laid out: once is enough
        drawing.figure.savefig(png, format="png", metadata={"Title": figure.title})
    return drawing, pdf.getvalue(), png.getvalue()


def _draw_what_can_be(figure: Figure, run: RunData) -> tuple[tuple[Drawing, bytes, bytes] | None, dict[str, str], str]:
    """Draw a figure without the models whose dumps it fails on; return it, those models, and why there is none."""
    without: dict[str, str] = {}
    while True:
        run.opened.clear()
        try:
            return draw(figure, run), without, ""
        except WriteError:
            raise
        except Exception as error:  # noqa: BLE001 - one figure, perhaps a third party's, never stops the report
            said = str(error) if isinstance(error, FilterlensError) else f"{type(error).__name__}: {error}"
            if not run.opened or len(run.catalog) == 1 or len(without) == _MOST_LEFT_OUT:
                return None, without, said
            without[run.opened[-1]] = said
            run = run.without(run.opened[-1])


def _left_out(without: Mapping[str, str]) -> str:
    """Say without which models a figure was drawn, each reason once; a dump's own name in it is `its dump`."""
    models: dict[str, list[str]] = {}
    for model, why in without.items():
        models.setdefault(_DUMP.sub("its dump", why), []).append(model)
    return "".join(f"without {', '.join(names)}: {why}; " for why, names in models.items())


def _write_figure(writer: _Writer, figure: Figure, drawing: Drawing, pdf: bytes, png: bytes) -> FinishedFigure:
    writer.write(f"figures/{figure.name}.pdf", pdf)
    writer.write(f"figures/{figure.name}.png", png)
    writer.write(f"figures/{figure.name}.csv", frame_to_csv(drawing.data).encode("utf-8", "replace"))
    said = f"{figure.title}. {drawing.caption} {writer.duplicates}".rstrip()
    writer.write(f"figures/{figure.name}.txt", f"{said}\n".encode("utf-8", "replace"))
    grid = None if drawing.matrix is None else grid_of(drawing.figure, drawing.matrix)
    return FinishedFigure(figure, drawing.caption, png, points_of(drawing.figure, drawing.data), grid)


def written_style(folder: Path) -> str:
    """Return the style that the figures of a folder were written in; empty where there is no report."""
    try:
        found = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["style"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


class _Writer:
    """Write files into a run's folder, each whole or not at all, and remember which."""

    def __init__(self, folder: Path, duplicates: str) -> None:
        self.folder = folder
        self.duplicates = duplicates  # said in every file that stands alone
        self.written: list[str] = []

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        write_atomically(path, content)
        self.written.append(name)
        return path

    def forget_stale(self, style: str) -> None:
        """Delete what an earlier report wrote and this one did not, so that no old figure stands beside new tables."""
        manifest = self.folder / _MANIFEST
        try:
            before = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            before = []
        for name in before if isinstance(before, list) else ():
            if isinstance(name, str) and _OWN.fullmatch(name) and name not in self.written:
                (self.folder / name).unlink(missing_ok=True)
        self.write(_MANIFEST, json.dumps({"style": style, "files": sorted(self.written)}, indent=1).encode())
