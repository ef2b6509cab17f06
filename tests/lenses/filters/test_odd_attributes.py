"""Attributes of a dump that was sent are numbers, or the layer's dump is refused by name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import DumpError
from filterlens.lenses.filters.analyzer import analyze


def rows(folder: Path, depth: object) -> list[dict[str, object]]:
    facts = {"model_id": "m", "source": "x.pt", "sha256": "ab" * 32, "catalog_row": "{}"}
    with DumpWriter(folder / "m.h5", facts) as writer:
        values = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype("f4")
        writer.lens("filters", {}).write("conv", values, conv_depth=depth)  # type: ignore[arg-type]  # odd on purpose
    with DumpReader(folder / "m.h5") as reader:
        return analyze(reader.lens("filters"))[0]


def test_a_depth_that_is_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match="its conv_depth was expected to be a number, got 'zq7x': extract again"):
        rows(tmp_path, "zq7x")


@pytest.mark.parametrize(("depth", "expected"), [(2, 2.0), (math.nan, math.nan)])
def test_a_depth_is_a_number_or_unknown(tmp_path: Path, depth: float, expected: float) -> None:
    assert all(row["conv_depth"] == pytest.approx(expected, nan_ok=True) for row in rows(tmp_path, depth))
