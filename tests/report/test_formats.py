"""Tables as files: numbers for people and machines, hostile text harmless everywhere."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.synthetic import HOSTILE

from filterlens.report.formats import Column, Table, cell, escape_latex, to_csv, to_latex, to_markdown

COLUMNS = (
    Column("model_id", "model", "name"),
    Column("paper", "paper", "text"),
    Column("mean", "mean", "value", "nats", "↓", "The mean.", "std"),
    Column("p", "p", "p"),
)


def table(names: list[str]) -> Table:
    n = len(names)
    values = {"mean": np.linspace(-1e-6, 12345, n), "std": [0.5] * n, "p": np.linspace(0, 1, n)}
    frame = pd.DataFrame({"model_id": names, "paper": names[::-1], **values})
    return Table("hostile", "100 % <hostile> & co_", "A note: 50 % of $5.", frame, COLUMNS)


def latex(body: str) -> str:
    return "\n".join(
        [
            r"\documentclass[twocolumn]{article}\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}",
            r"\usepackage{booktabs,longtable,array,textcomp}\begin{document}",
            body,
            r"\end{document}",
        ]
    )


def test_csv_round_trips_every_number_and_disarms_formulas() -> None:
    read = list(csv.DictReader(io.StringIO(to_csv(table(HOSTILE)))))
    assert [row["mean"] for row in read] == [repr(v) for v in np.linspace(-1e-6, 12345, len(HOSTILE)).tolist()]
    assert list(read[0]) == ["model_id", "paper", "mean", "std", "p"]
    for row, name in zip(read, HOSTILE, strict=True):
        assert row["model_id"].removeprefix("'") == name
        assert not row["model_id"].lstrip().startswith(("=", "+", "-", "@"))
    assert read[1]["model_id"].startswith("'=")
    assert next(csv.DictReader(io.StringIO(to_csv(table([""])))))["model_id"] == ""


def test_markdown_has_one_line_a_row_and_no_markup_from_names() -> None:
    lines = to_markdown(table(HOSTILE)).splitlines()
    body = lines[lines.index("|---|---|---:|---:|") + 1 :]
    assert len(body) == len(HOSTILE)
    for line in body:
        assert "<" not in line.replace("&lt;", "")
        assert line.replace("\\|", "").count("|") == 5
    assert "mean \\[nats\\] ↓" in "\n".join(lines)


def test_two_columns_share_a_cell_for_people() -> None:
    assert table(["a"]).rows()[0] == ["a", "a", "−1.0e−06 ± 0.500", "< 0.001"]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.0, "value", "0.00"),
        (1234.5, "value", "1234"),
        (0.05, "p", "0.050"),
        (float("nan"), "value", ""),
        (None, "name", ""),
        (False, "flag", "no"),
        (float("-inf"), "value", "−∞"),
        (3.0, "count", "3"),
    ],
)
def test_cells_read_as_people_write_them(value: object, kind: str, text: str) -> None:
    assert cell(value, kind) == text  # type: ignore[arg-type]


def test_wide_latex_tables_are_split_and_long_ones_break_over_pages() -> None:
    columns = tuple(Column(f"c{i}", f"c{i}", "value") for i in range(20))
    frame = pd.DataFrame(np.zeros((50, 20)), columns=[c.key for c in columns])
    text = to_latex(Table("wide", "Wide", "", frame, columns))
    assert text.count(r"\begin{longtable}") == 3
    assert text.count(r"\toprule") == 6
    assert r"\label{tab:wide-3}" in text
    assert all(f" c{i} " in text.replace("\n", " ") for i in range(20))


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_escaped_latex_is_plain_latin_with_balanced_braces(text: str) -> None:
    escaped = escape_latex(text)
    assert all(ord(character) < 0x180 for character in escaped)
    bare = escaped.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert "\n" not in escaped


def test_hostile_tables_compile_with_pdflatex(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    many = table([f"model_{i}%" for i in range(60)])
    (tmp_path / "a.tex").write_text(latex(to_latex(table(HOSTILE)) + r"\onecolumn" + to_latex(many)), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
    assert (tmp_path / "a.pdf").stat().st_size > 10_000
