"""Numbers in the docs are those of the committed tables beside them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


def spread(values: pd.Series, digits: int) -> str:
    """Such as `0.933–0.934`, or one number."""
    low, high = f"{values.min():.{digits}f}", f"{values.max():.{digits}f}"
    return low if low == high else f"{low}–{high}"


@pytest.mark.parametrize(
    ("title", "of"),
    [
        ("trained normally", "-normal-"),
        ("on the manifold, transformations", "on-manifold|transformations"),
        ("PGD, TRADES", "-pgd-|trades"),
    ],
)
def test_the_yardsticks_table_is_that_of_its_run(title, of):
    table = pd.read_csv(DOCS / "evidence" / "manifold-yardstick.csv")
    part = table[table["model_id"].str.contains(of)]
    columns = ["attacked", "noise", "noise_signs", "noise_unclipped"]
    cells = [spread(part["examples"], 0), *(spread(part[name], 3) for name in columns)]
    page = (DOCS / "lenses" / "manifold.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith(f"| {title} |"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [title, str(len(part)), *cells]
    assert len(table) == 21


def test_flatness_of_the_cifar10_pair_is_that_of_its_run():
    table = pd.read_csv(DOCS / "evidence" / "flatness-cifar10.csv").pivot_table(
        index="model_id", columns="metric", values="value"
    )
    page = (DOCS / "lenses" / "flatness.md").read_text(encoding="utf-8").replace("−", "-")
    for side in ("robust", "normal"):
        found = table.loc[f"resnet20-{side}"]
        (row,) = (line for line in page.splitlines() if line.startswith(f"  | {side} ResNet-20 |"))
        _, loss, average, worst = (cell.strip() for cell in row.strip(" |").split("|"))
        assert float(loss) == pytest.approx(found["flatness_reference_loss"], rel=3e-3)
        assert average == f"{found['average_flatness']:.2f} ({found['average_flatness_error']:.2f})"
        assert float(worst) == pytest.approx(found["worst_flatness"], rel=4e-3)
