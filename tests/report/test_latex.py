"""Tables for papers: they fit, by measure and by a real TeX where there is one, and hostile text is harmless."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.synthetic import HOSTILE
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.errors import InputError
from filterlens.report import read_run
from filterlens.report.formats import Column, Table
from filterlens.report.latex import Width, chosen_columns, escape_latex, text_width, to_latex
from filterlens.report.style import STYLES
from filterlens.report.tables import report_tables

COLUMNS = (
    Column("model_id", "model", "name"),
    Column("paper", "paper", "text"),
    Column("mean", "mean", "value", "nats", "↓", "The mean.", "std"),
    Column("p", "p", "p"),
)
SCORES = ["sparsity", "variance_entropy", "orthogonality", "aliasing"]
needs_tex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed: widths are measured"
)


def table(names: list[str]) -> Table:
    n = len(names)
    values = {"mean": np.linspace(-1e-6, 12345, n), "std": [0.5] * n, "p": np.linspace(0, 1, n)}
    frame = pd.DataFrame({"model_id": names, "paper": names[::-1], **values})
    return Table("hostile", "100 % <hostile> & co_", "A note: 50 % of $5.", frame, COLUMNS)


def wide(rows: int) -> Table:
    columns = tuple(Column(f"c{i}", f"a longer heading {i}", "value") for i in range(20))
    frame = pd.DataFrame(np.full((rows, 20), 0.0123), columns=[c.key for c in columns])
    return Table("wide", "Wide", "", frame, columns)


def width_of(body: str) -> list[float]:
    """Measure every table of a text in points, from its cells and headings: what TeX would add up."""
    found = []
    body = re.sub(
        r"\\begin\{tabular\}\[b\]\{@\{\}.@\{\}\}(.*?)\\end\{tabular\}", lambda m: m[1].replace(r" \\ ", "¦"), body
    )
    for part in re.findall(
        r"\\begin\{(?:tabular|longtable)\}\{@\{\}.*?\\end\{(?:tabular|longtable)\}", body, re.DOTALL
    ):
        specification = part.split("@{}", 2)[1].replace(r">{\raggedright\arraybackslash}", "")
        fixed = [float(one) if one else 0.0 for one in re.findall(r"p\{(\d+)pt\}|[lr]", specification)]
        widths = list(fixed)
        for line in part.split("\\toprule", 1)[1].splitlines():
            cells = re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))
            if len(cells) != len(fixed):
                continue
            for i, cell in enumerate(cells):
                if not fixed[i]:
                    widths[i] = max(widths[i], *map(text_width, map(read, cell.split("¦"))))
        assert all(widths), "every column was measured"
        found.append(sum(widths) + 8 * (len(widths) - 1))
    return found


def read(cell: str) -> str:
    """Return a cell's letters, one for each symbol."""
    cell = re.sub(r"\$\\times10\^\{(-?\d+)\}\$", r"×10\1", cell)
    return re.sub(
        r"\{\[\}|\{\]\}", "[", re.sub(r"\$\\?[\w-]+\$|\\[a-zA-Z]+(\{\})?", "×", re.sub(r"\\([_%&#{}$])", r"\1", cell))
    )


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("width", ["page", "column"])
def test_tables_are_no_wider_than_the_text(make_run: Callable[..., Path], style: str, width: Width) -> None:
    run = read_run(make_run(8))
    room = (STYLES[style].page if width == "page" else STYLES[style].text_column) * 72.27
    every = [*report_tables(run), table(["short", "n" * 300]), wide(5), wide(60)]
    for one in map(chosen_columns, every):
        widths = width_of(to_latex(one, style=style, width=width))
        assert widths or one.frame.empty
        assert all(found <= room + 0.1 for found in widths), (one.name, widths, room)


def test_a_table_that_is_too_wide_would_be_found() -> None:
    assert width_of(to_latex(wide(5)).replace("0.0123", "0.0123" * 9))[0] > STYLES["plain"].page * 72.27


def test_wide_tables_come_in_parts_and_long_ones_break_over_pages() -> None:
    text = to_latex(wide(50))
    parts = text.count(r"\begin{longtable}")
    assert parts == text.count(r"\endfirsthead") == text.count(r"\begin{longtable}{@{}r") > 1
    assert rf"\label{{tab:wide-{parts}}}" in text
    assert all(re.search(rf"heading {i}\b|heading\b.*\b{i}\b", text) for i in range(20))
    with pytest.raises(
        InputError, match=r"table 'wide' is \d+ points wide and a page of plain 499: leave out columns \(c0 "
    ):
        to_latex(wide(5), whole=True)


def test_numbers_read_as_in_papers() -> None:
    frame = pd.DataFrame({"model_id": ["a-b"], "paper": ["x"], "mean": [2.4e-7], "std": [3.1e-7], "p": [0.0001]})
    text = to_latex(Table("one", "One", "", frame, COLUMNS))
    assert r"a-b & x & (2.4 $\pm$ 3.1)$\times10^{-7}$ & \textless{} 0.001 \\" in text
    assert r"mean" in text
    assert r"(nats)" in text


def test_columns_that_say_nothing_are_said_once() -> None:
    frame = pd.DataFrame({"model_id": ["a", "b"], "dataset": ["fonts"] * 2, "note": ["", ""], "acc": [1.0, 1.0]})
    columns = (
        *(Column("model_id", "model", "name"), Column("dataset", "data set", "name"), Column("note", "note")),
        *(Column("acc", "accuracy", "number"), Column("model_id", "key", "name", detail=True)),
    )
    chosen = chosen_columns(Table("t", "T", "Two models.", frame, columns))
    assert [column.key for column in chosen.columns] == ["model_id", "acc"]
    assert chosen.note == "Two models. All rows: data set: fonts."
    assert [c.key for c in chosen_columns(Table("t", "T", "", frame, columns), ["acc", "dataset"]).columns] == [
        *("acc", "dataset"),
    ]
    with pytest.raises(InputError, match="table 't' has no column 'x'; there are model_id, dataset, note, acc"):
        chosen_columns(Table("t", "T", "", frame, columns), ["x"])


@pytest.mark.parametrize("style", ["neurips", "cvpr", "icml"])
@pytest.mark.parametrize(("of", "width"), [("", "column"), ("", "page"), ("models", "column"), ("models", "page")])
def test_the_paper_table_holds_the_chosen_scores_and_fits(
    make_run: Callable[..., Path], style: str, of: str, width: Width
) -> None:
    folder = make_run(8)
    scores = SCORES[:3] if (of, width) == ("models", "column") else SCORES
    text = filterlens.table(folder, scores, of=of, width=width, style=style)
    room = (STYLES[style].page if width == "page" else STYLES[style].text_column) * 72.27
    assert width_of(text)
    assert width_of(text)[0] <= room + 0.1
    assert text.count(r"\begin{tabular}{@{}") == 1
    if of:
        assert text.count("robust-") == 8
    else:
        places = [text.index(title) for title in ("Sparsity", "Variance entropy", "Orthogonality", "Aliasing")]
        assert places == sorted(places)
        assert "BH: adjusted over all scores" in text


def test_the_command_prints_it_and_says_what_is_wrong(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(8)

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["table", str(folder), *words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return str(done.exception)
        return done.output

    assert r"Orthogonality & " in run("--scores", "orthogonality, sparsity")
    assert run("-s", "sparsity").splitlines() == filterlens.table(folder, ["sparsity"]).splitlines()
    assert run("-s", "sparsity", "--style", "icml", "-o", str(tmp_path / "t.tex")) == ""
    assert (tmp_path / "t.tex").read_text() == filterlens.table(folder, ["sparsity"], style="icml")
    assert "table 'robust_vs_normal' has no score 'flatness'; there are sparsity, " in run("-s", "flatness")
    assert "has no score 'flatness'; there are" in run("-s", "flatness", "--of", "models")
    assert "has no table 'tests'; there are models, robust_vs_normal" in run("--of", "tests")
    assert "points wide and a column of cvpr 237" in run(
        *("--style", "cvpr", "--columns", "title,robust_mean,normal_mean,difference,ci_low,p,effect"),
    )
    assert r"$\rho$" in run("--of", "correlation", "--style", "neurips", "--width", "page")
    assert "no style of figures is called 'x'" in run("--style", "x")


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_escaped_latex_is_plain_latin_with_balanced_braces(text: str) -> None:
    escaped = escape_latex(text)
    assert all(ord(character) < 0x180 for character in escaped)
    bare = escaped.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert "\n" not in escaped
    assert "--" not in escaped


def latex(body: str, where: str = "plain") -> str:
    style = STYLES[where]
    geometry = f"textwidth={style.page}in,columnsep={style.page - 2 * style.column}in,textheight=9in"
    two = "" if where == "neurips" else "twocolumn,"
    times = r"\usepackage{times}" if where != "plain" else ""
    return "\n".join(
        [
            rf"\documentclass[{two}10pt]{{article}}\usepackage[T1]{{fontenc}}\usepackage[utf8]{{inputenc}}{times}",
            rf"\usepackage[{geometry}]{{geometry}}",
            r"\usepackage{booktabs,longtable,array,textcomp}\begin{document}",
            body,
            r"\end{document}",
        ]
    )


def compiled(folder: Path, text: str) -> str:
    (folder / "a.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "a.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    log = done.stdout.decode("latin-1")
    assert done.returncode == 0, log[-2000:]
    assert (folder / "a.pdf").stat().st_size > 1_000
    return log


@needs_tex
@pytest.mark.parametrize("where", ["plain", "neurips", "cvpr", "icml"])
def test_a_real_tex_finds_no_overfull_box(make_run: Callable[..., Path], tmp_path: Path, where: str) -> None:
    folder = make_run(8)
    run = read_run(folder)
    parts = [to_latex(chosen_columns(one), style=where) for one in report_tables(run) if len(one.frame) <= 40]
    widths: tuple[Width, ...] = ("column", "page")
    for of in ("", "models", "correlation"):
        parts += [filterlens.table(folder, SCORES[:3], of=of, width=width, style=where) for width in widths]
    log = compiled(tmp_path, latex("\\clearpage\n".join(parts), where))
    assert not re.findall(r"Overfull \\hbox.*", log)
    narrow = latex(to_latex(chosen_columns(wide(5))).replace("0.0123", "0.0123" * 9), where)
    assert "Overfull" in compiled(tmp_path, narrow), "a control"


@needs_tex
def test_hostile_tables_compile_with_pdflatex(tmp_path: Path) -> None:
    many = table([f"model_{i}%" for i in range(60)])
    log = compiled(tmp_path, latex(to_latex(table(HOSTILE)) + r"\onecolumn" + to_latex(many)))
    assert "Overfull" not in log
