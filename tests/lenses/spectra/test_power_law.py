"""The exponent of a known power law comes back, and a slow fit finds the same tail."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from filterlens.lenses.spectra.power_law import fit_power_law


def slow_fit(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Clauset2009 as it is written: one candidate at a time; returns α, distance and xmin."""
    x = sorted(values)
    best = (math.nan, math.inf, math.nan)
    for i, xmin in enumerate(x[:-1]):
        tail = x[i:]
        alpha = 1 + len(tail) / sum(math.log(one / xmin) for one in tail)
        distance = max(abs(1 - (one / xmin) ** (1 - alpha) - j / len(tail)) for j, one in enumerate(tail))
        if distance < best[1]:
            best = (alpha, distance, xmin)
    return best


@pytest.mark.parametrize("alpha", [1.7, 2.5, 4.0])
def test_the_exponent_of_a_power_law_is_recovered(alpha: float) -> None:
    u = np.random.default_rng(0).random(4000)
    found = fit_power_law(3 * (1 - u) ** (-1 / (alpha - 1)))
    assert found.n_tail > 1000
    assert found.alpha == pytest.approx(alpha, abs=4 * (alpha - 1) / math.sqrt(found.n_tail))
    assert found.distance < 1.4 / math.sqrt(found.n_tail)


def test_the_tail_is_found_behind_a_body_that_is_no_power_law() -> None:
    random = np.random.default_rng(1)
    tail = 10 * (1 - random.random(2000)) ** (-1 / 1.5)
    found = fit_power_law(np.concatenate([random.uniform(1, 10, 2000), tail]))
    assert found.xmin == pytest.approx(10, rel=0.2)
    assert found.alpha == pytest.approx(2.5, abs=0.15)


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 60), st.integers(0, 10**6))
def test_a_slow_fit_finds_the_same(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(size=n)
    found, (alpha, distance, xmin) = fit_power_law(values), slow_fit(values)
    assert found.distance == pytest.approx(distance, rel=1e-9)
    assert (found.alpha, found.xmin) == pytest.approx((alpha, xmin), rel=1e-9)


def test_scale_moves_the_tail_and_not_the_exponent() -> None:
    values = np.random.default_rng(2).lognormal(size=300)
    one, other = fit_power_law(values), fit_power_law(values[::-1] * 1e6)
    assert other.alpha == pytest.approx(one.alpha, rel=1e-9)
    assert other.xmin == pytest.approx(one.xmin * 1e6, rel=1e-9)


@pytest.mark.parametrize("values", [np.ones(50), np.arange(1, 20), np.zeros(40)])
def test_equal_or_few_values_have_no_exponent(values: NDArray[np.float64]) -> None:
    assert math.isnan(fit_power_law(values).alpha)


def test_blocks_of_candidates_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).lognormal(size=200)
    whole = fit_power_law(values)
    monkeypatch.setattr("filterlens.lenses.spectra.power_law._BLOCK", 700)
    assert fit_power_law(values) == whole
