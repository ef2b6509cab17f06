"""Write a report: tables, figures and one page, each file there whole or not there."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filterlens.errors import InputError
from filterlens.process.files import write_atomically
from filterlens.report.cautions import cautions_table, mixed_options, read_settings
from filterlens.report.comparison import pair_models
from filterlens.report.data import RunData, read_run
from filterlens.report.drawing import draw_all
from filterlens.report.figure import Figure, FinishedFigure
from filterlens.report.formats import Column, Table, to_csv, to_markdown
from filterlens.report.latex import chosen_columns, to_latex
from filterlens.report.page import render_page
from filterlens.report.style import find_style
from filterlens.report.tables import TableMaker, report_tables
from filterlens.runs.folder import lock_folder

if TYPE_CHECKING:
    from filterlens.runs.executors import Executor

__all__ = ["ReportWarning", "write_report", "written_style"]

Progress = Callable[[int, int], None]
_OWN = re.compile(r"(tables|figures)/[\w.-]+")
_DUMP = re.compile(r"\S*/dumps/\S+\.h5")
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
    executor: Executor | None = None,
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
    executor
        Draws the figures, in processes of this machine; None draws them here, one after the other.
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
        step = progress or (lambda done, total: None)
        return _write_all(run, figures, tables, inline=inline, executor=executor, step=step)


def _write_all(
    run: RunData,
    figures: Sequence[Figure],
    lens_tables: Sequence[TableMaker],
    *,
    inline: bool,
    executor: Executor | None,
    step: Progress,
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
    finished: dict[int, FinishedFigure] = {}
    amiss: dict[int, str] = {}
    for done, drawn in enumerate(draw_all(run, figures, executor), start=2):
        figure = figures[drawn.number]
        if drawn.finished is not None:
            finished[drawn.number] = drawn.finished
            _write_figure(writer, drawn.finished, drawn.files)
        if drawn.without or drawn.said:
            amiss[drawn.number] = f"{_left_out(drawn.without)}{drawn.said}".removesuffix("; ")
            verb = "was drawn" if drawn.finished is not None else "could not be drawn:"
            warnings.warn(f"figure {figure.name!r} {verb} {amiss[drawn.number]}", ReportWarning, stacklevel=2)
        step(done, total)
    failed |= {figures[number].title: amiss[number] for number in sorted(amiss)}
    shown = [finished[number] for number in sorted(finished)]
    page = render_page(run, tables, shown, failed, settings=settings, inline=inline)
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


def _write_figure(writer: _Writer, finished: FinishedFigure, files: Mapping[str, bytes]) -> None:
    name, title = finished.figure.name, finished.figure.title
    for suffix, content in files.items():
        writer.write(f"figures/{name}.{suffix}", content)
    said = f"{title}. {finished.caption} {writer.duplicates}".rstrip()
    writer.write(f"figures/{name}.txt", f"{said}\n".encode("utf-8", "replace"))


def _left_out(without: Mapping[str, str]) -> str:
    """Say without which models a figure was drawn, each reason once; a dump's own name in it is `its dump`."""
    models: dict[str, list[str]] = {}
    for model, why in without.items():
        models.setdefault(_DUMP.sub("its dump", why), []).append(model)
    return "".join(f"without {', '.join(names)}: {why}; " for why, names in models.items())


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
