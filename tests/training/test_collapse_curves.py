"""The table of docs/monitors.md comes out of the committed curves, and the defaults do on them what the page says."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "monitors.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def judged() -> ModuleType:
    return load_script("benchmarks/collapse_table.py")


@pytest.fixture(scope="module")
def curves(judged: ModuleType) -> pd.DataFrame:
    return pd.read_csv(judged.CURVES)


def test_the_table_of_the_page_is_what_the_curves_give(judged: ModuleType, curves: pd.DataFrame) -> None:
    assert judged.table(curves) in PAGE, "run `python benchmarks/collapse_table.py`"


def test_a_collapse_is_a_lasting_loss_of_half_of_the_robust_accuracy(judged: ModuleType) -> None:
    assert judged.collapse_epoch([0.1, 0.2, 0.3, 0.1, 0.12, 0.05]) == 3
    assert judged.collapse_epoch([0.1, 0.2, 0.3, 0.1, 0.3, 0.3]) is None  # it came back
    assert judged.collapse_epoch([0.1, 0.02, 0.0, 0.0]) is None  # a normal training was never robust


def test_every_recipe_and_architecture_is_there_whole(curves: pd.DataFrame) -> None:
    assert {"normal", "pgd", "trades", "free", "fgsm"} <= set(curves["recipe"])
    assert curves["architecture"].nunique() == 3
    assert curves.groupby("training")["epoch"].agg(list).map(lambda epochs: epochs == list(range(12))).all()


def test_the_defaults_do_what_the_page_says(judged: ModuleType, curves: pd.DataFrame) -> None:
    found = judged.with_the_defaults(curves)
    assert (found.found, found.collapsing, found.stopped, found.healthy) == (7, 8, 1, 10)
    assert "finds 7 of 8 and stops 1 of 10" in PAGE
