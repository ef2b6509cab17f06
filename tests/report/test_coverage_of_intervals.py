"""A small part of the simulation behind docs/statistics.md."""

from __future__ import annotations

import numpy as np
import pytest
from scripts import load_script

ZOOS = 400


simulation = load_script("benchmarks/coverage_of_intervals.py")


@pytest.mark.parametrize("noise", simulation.NOISES)
@pytest.mark.parametrize("k", [(5,) * 4, (1,) * 7 + (2,), (6, 6, 4, 4, 4, 4, 3, 3, 2, 2, *(1,) * 33)], ids=len)
def test_the_interval_covers_the_known_difference_as_often_as_it_says(k: tuple[int, ...], noise: str) -> None:
    found = simulation.coverage(k, noise, ZOOS, seed=1).set_index("method")["rate"]
    assert abs(found["t"] - 0.95) < 0.01 + 3 * np.sqrt(0.95 * 0.05 / ZOOS)
    assert found["Wilcoxon rejects"] < 0.06 + 3 * np.sqrt(0.95 * 0.05 / ZOOS)
    if len(k) <= 8:
        assert found["percentile bootstrap"] < 0.93, "the control: what was replaced does not cover"
