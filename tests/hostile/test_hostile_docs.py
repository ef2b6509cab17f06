"""The tables of docs/safety.md are those of the committed results."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from interruptions import table

from hostile import fuzz
from hostile.run import markdown, read_results

DOCS = Path(__file__).parents[2] / "docs"


def _hostile() -> str:
    return markdown(read_results(DOCS / "safety" / "hostile.csv"))


def _fuzz() -> str:
    with (DOCS / "safety" / "fuzz.csv").open(newline="", encoding="utf-8") as file:
        return fuzz.markdown(list(csv.reader(file)))


def _interruptions() -> str:
    return table(DOCS / "interruptions.csv")


@pytest.mark.parametrize("make", [_hostile, _fuzz, _interruptions])
def test_a_table_is_that_of_its_results(make: Callable[[], str]) -> None:
    assert make().strip() in (DOCS / "safety.md").read_text(encoding="utf-8")
