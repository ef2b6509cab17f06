"""The exponent of a known power law comes back, and a slow fit finds the same tail."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from filterlens.lenses.spectra import power_law
from filterlens.lenses.spectra.power_law import _deviations, fit_power_law


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


def fit_by_table(values: NDArray[np.float64]) -> tuple[float, float, float, int]:
    """Every candidate against its whole tail at once, as a table of deviations; returns α, distance, xmin, size."""
    logs = np.log(np.sort(values))
    n = len(logs)
    rows, i = np.arange(n - 1)[:, None], np.arange(n) - np.arange(n - 1)[:, None]
    sizes = n - rows
    sums = np.cumsum(logs[::-1])[::-1][:-1, None] - sizes * logs[:-1, None]
    slope = np.divide(sizes, sums, out=np.full(sizes.shape, np.nan), where=sums > 1e-12 * sizes)
    above = np.where(i >= 0, logs - logs[:-1, None], 0)
    deviations = np.abs(-np.expm1(-slope * above) - i.clip(min=0) / sizes)
    distances = np.nan_to_num(deviations.max(axis=1), nan=np.inf)
    best = int(np.argmin(distances))
    return 1 + float(slope[best, 0]), float(distances[best]), math.exp(logs[best]), int(sizes[best, 0])


def samples() -> dict[str, NDArray[np.float64]]:
    random = np.random.default_rng(4)
    heavy = random.standard_t(3, size=(300, 400))
    return {
        "eigenvalues of heavy-tailed weights": np.linalg.eigvalsh(heavy @ heavy.T),
        "log-normal": random.lognormal(size=500),
        "uniform": random.uniform(1, 2, size=700),
        "whole numbers, many equal": random.integers(1, 6, size=400).astype(np.float64),
        "two values": np.repeat([1.0, 2.0], 50),
        "twice the same": np.repeat(random.pareto(1.5, size=200) + 1, 2),
        "a power law without noise": (1 - (np.arange(600) + 0.5) / 600) ** -0.7,
        "20 values": random.lognormal(size=20),
    }


@pytest.mark.parametrize("name", samples())
def test_leaving_candidates_out_changes_nothing(name: str) -> None:
    values = samples()[name]
    found = fit_by_table(values)
    fitted = fit_power_law(values)
    assert (fitted.n_tail, fitted.xmin) == (found[3], found[2])
    assert (fitted.alpha, fitted.distance) == pytest.approx(found[:2], rel=1e-12)


def test_few_candidates_are_compared_with_their_whole_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counted(logs: NDArray[Any], slope: NDArray[Any], row: Any, i: NDArray[Any]) -> NDArray[np.float64]:
        compared.append(np.size(row))
        return _deviations(logs, slope, row, i)

    monkeypatch.setattr(power_law, "_deviations", counted)
    fit_power_law(samples()["log-normal"])
    assert compared[0] == 499
    assert 1 <= len(compared) - 1 < 100
