from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterlens.errors import InputError
from filterlens.lenses.proportion import proportion_interval


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_share_lies_in_its_interval(case: tuple[int, int]) -> None:
    k, n = case
    low, high = proportion_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1


@settings(deadline=None)
@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_at_both_ends_the_observed_share_is_just_not_significant(case: tuple[int, int]) -> None:
    k, n = case
    for end in proportion_interval(k, n):
        if 0 < end < 1:
            assert (k / n - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / n, rel=1e-5, abs=1e-12)


def test_it_mirrors() -> None:
    low, high = proportion_interval(3, 20)
    assert proportion_interval(17, 20) == pytest.approx((1 - high, 1 - low))


def test_nothing_tried_has_no_interval() -> None:
    assert all(math.isnan(end) for end in proportion_interval(0, 0))


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(InputError, match="got 3 of 2"):
        proportion_interval(3, 2)
