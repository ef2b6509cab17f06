"""Tables as files: numbers for people and machines, hostile text harmless everywhere."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from report.synthetic import HOSTILE

from filterlens.report.formats import Column, Table, cell, plus_minus, to_csv, to_markdown

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
    assert table(["a"]).rows()[0] == ["a", "a", "0.00 ± 0.50", "< 0.001"]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.0, "value", "0.00"),
        (1234.5, "value", "1234"),
        (0.05, "p", "0.050"),
        (2.44e-7, "value", "2.4×10⁻⁷"),
        (-3.1e12, "value", "−3.1×10¹²"),
        (float("nan"), "value", ""),
        (None, "name", ""),
        (False, "flag", "no"),
        (float("-inf"), "value", "−∞"),
        (3.0, "count", "3"),
    ],
)
def test_cells_read_as_people_write_them(value: object, kind: str, text: str) -> None:
    assert cell(value, kind) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (0.7761, 0.0113, "0.776 ± 0.011"),
        (123.4, 36.1, "123 ± 36"),
        (-0.00001, 0.5, "0.00 ± 0.50"),
        (2.4e-7, 3.1e-7, "(2.4 ± 3.1)×10⁻⁷"),
        (5.0e7, 1.2e6, "(5.00 ± 0.12)×10⁷"),
        (1.0, 0.0, "1.00 ± 0.00"),
        (0.5, float("nan"), "0.500"),
    ],
)
def test_a_deviation_has_two_digits_and_its_mean_as_many_decimals(mean: float, deviation: float, text: str) -> None:
    assert plus_minus(mean, deviation) == text
