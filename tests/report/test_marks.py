"""How models are told apart in figures."""

from __future__ import annotations

import pandas as pd
import pytest

from filterlens.report.marks import by_mark


@pytest.mark.parametrize("robust", [[True, True], [False], [True, False, None], []])
def test_models_are_told_apart_whatever_the_columns_are_called(robust: list[bool | None]) -> None:
    models = pd.DataFrame({"robust": pd.Series(robust, dtype=object), "normal": 1.0, "x": range(len(robust))})
    found = {mark.label: list(part["x"]) for mark, part in by_mark(models)}
    expected: dict[str, list[int]] = {}
    for place, one in enumerate(robust):
        expected.setdefault({True: "robust", False: "normal", None: "unknown"}[one], []).append(place)
    assert found == expected
