"""Statistics against brute force, scipy and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from filterlens.report.statistics import (
    benjamini_hochberg,
    mean_interval,
    rank_biserial,
    skewness,
    spearman,
    wilcoxon_p,
)

differences = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=8)


def slow_wilcoxon(d: list[float]) -> float:
    """Count all sign flips, one by one."""
    x = np.array([v for v in d if v != 0])
    if x.size == 0:
        return 1.0
    ranks = stats.rankdata(np.abs(x))
    observed = ranks[x > 0].sum()
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=x.size)
    ]
    below, above = np.mean(np.array(sums) <= observed + 1e-9), np.mean(np.array(sums) >= observed - 1e-9)
    return float(min(1.0, 2 * min(below, above)))


@given(differences)
@settings(max_examples=60, deadline=None)
def test_wilcoxon_with_ties_and_zeros_is_that_of_all_sign_flips(d: list[float]) -> None:
    assert wilcoxon_p(d) == pytest.approx(slow_wilcoxon(d), abs=1e-12)


@pytest.mark.parametrize("n", [4, 9, 25, 60])
def test_wilcoxon_without_ties_is_scipys_exact_one(n: int) -> None:
    d = np.random.default_rng(n).normal(0.3, 1, size=n)
    assert wilcoxon_p(d) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-9)


def test_wilcoxon_of_many_values_goes_over_into_the_normal_approximation() -> None:
    d = np.random.default_rng(0).normal(0.1, 1, size=201)
    assert wilcoxon_p(d) == pytest.approx(wilcoxon_p(d[:200]), abs=0.05)
    assert 0 < wilcoxon_p(d) < 1


def test_eight_of_eight_positive_differences_have_p_of_two_in_256() -> None:
    assert wilcoxon_p(np.arange(1, 9)) == 2 / 256


@given(differences)
@settings(deadline=None)
def test_rank_biserial_is_odd_and_bounded(d: list[float]) -> None:
    effect = rank_biserial(d)
    assert -1 <= effect <= 1
    assert rank_biserial([-v for v in d]) == pytest.approx(-effect)


def test_rank_biserial_is_one_where_every_difference_is_positive() -> None:
    assert rank_biserial([0.1, 5.0, 2.0, 0.0]) == 1.0
    assert rank_biserial([0.0, 0.0]) == 0.0


@pytest.mark.parametrize("n", [4, 8, 43])
def test_the_interval_of_a_mean_is_that_of_students_t(n: int) -> None:
    values = np.random.default_rng(n).normal(2, 1, size=n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, level=0.9) == pytest.approx((expected.low, expected.high))


def test_equal_values_have_an_interval_of_width_zero_and_three_have_none() -> None:
    assert mean_interval([5.0] * 4) == (5.0, 5.0)
    assert np.isnan(mean_interval([1.0, 2.0, 4.0])).all()


def test_benjamini_hochberg_is_scipys_and_passes_over_unknown_values() -> None:
    p = np.array([0.001, 0.2, np.nan, 0.04, 0.03, 0.9])
    known = ~np.isnan(p)
    adjusted = benjamini_hochberg(p)
    np.testing.assert_allclose(adjusted[known], stats.false_discovery_control(p[known]))
    assert np.isnan(adjusted[2])
    assert np.isnan(benjamini_hochberg([np.nan, np.nan])).all()


def test_spearman_is_scipys_on_what_is_known() -> None:
    rng = np.random.default_rng(2)
    x = np.round(rng.normal(size=30), 1)
    y = x + rng.normal(size=30)
    x[3], y[7] = np.nan, np.nan
    rho, n = spearman(x, y)
    assert n == 28
    assert rho == pytest.approx(stats.spearmanr(x, y, nan_policy="omit").statistic)


@pytest.mark.parametrize(("x", "y", "n"), [([1, 2, 3], [1, 2, 3], 3), ([1, 1, 1, 1], [1, 2, 3, 4], 4), ([], [], 0)])
def test_spearman_has_no_coefficient_for_few_or_constant_values(x: list[float], y: list[float], n: int) -> None:
    rho, found = spearman(x, y)
    assert np.isnan(rho)
    assert found == n


def test_skewness_is_that_of_its_formula_and_turns_with_the_sign() -> None:
    x = np.array([0.3, 0.1, 0.5, 4.0, 0.2])
    n, away = len(x), x - x.mean()
    expected = np.sqrt(n * (n - 1)) / (n - 2) * np.mean(away**3) / np.mean(away**2) ** 1.5
    assert skewness(x) == pytest.approx(expected)
    assert skewness(-x) == pytest.approx(-expected)
    assert skewness([1, 2, 3]) == pytest.approx(0)
    assert np.isnan([skewness([1, 5]), skewness([2, 2, 2, 2])]).all()
