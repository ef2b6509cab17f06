"""The compiled loops against NumPy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from filterlens.lenses.filters.kernels import count, maxima, scatter, widen

SIZES = [0, 1, 63, 64, 65, 200]


def case(seed: int, n: int, k: int, mean: float = 0.3) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((n, k)) * rng.choice([1e-3, 1], (n, 1)) + mean * rng.integers(0, 2)).astype(np.float32)
    tops = np.abs(rows).max(axis=1, initial=0)
    return rows, tops, 0.01 * float(tops.max(initial=0))


def scaled(rows: NDArray[Any], tops: NDArray[Any], limit: float) -> NDArray[np.float64]:
    kept = tops > limit
    found: NDArray[np.float64] = rows[kept].astype(np.float64) / tops[kept, None]
    return found


def frames(seed: int, f: int, k: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    bases = np.stack([np.linalg.qr(rng.standard_normal((k, k)))[0] for _ in range(f)])
    return (rng.standard_normal((f, k)) * 0.1).astype(np.float32), bases.astype(np.float32)


@given(seed=st.integers(0, 1000), n=st.sampled_from(SIZES), k=st.sampled_from([1, 9, 25]))
def test_scatter_is_that_of_numpy(seed: int, n: int, k: int) -> None:
    rows, tops, limit = case(seed, n, k)
    expected = scaled(rows, tops, limit)
    kept, mean, found = scatter(rows, tops, limit)
    assert kept == len(expected)
    if kept:
        np.testing.assert_allclose(mean, expected.mean(axis=0), atol=1e-14)
        centred = expected - expected.mean(axis=0)
        np.testing.assert_allclose(found, centred.T @ centred, atol=1e-12 * n)
    else:
        assert not mean.any()
        assert not found.any()


def test_scatter_of_rows_that_hardly_differ_keeps_its_digits() -> None:
    rows = (1e6 + np.random.default_rng(0).standard_normal((300, 9))).astype(np.float64)
    _, _, found = scatter(rows, np.ones(300), 0.0)
    np.testing.assert_allclose(found, np.cov(rows.T) * 299, rtol=1e-8, atol=1e-6)


def test_equal_rows_have_no_scatter_at_all() -> None:
    _, _, found = scatter(np.full((130, 9), 0.1, np.float32), np.full(130, 0.1, np.float32), 0.0)
    assert not found.any()


@given(seed=st.integers(0, 1000), n=st.sampled_from(SIZES), k=st.sampled_from([1, 9]))
def test_ranges_are_those_of_numpy_and_only_ever_widen(seed: int, n: int, k: int) -> None:
    rows, tops, limit = case(seed, n, k)
    means, bases = frames(seed, 3, k)
    ranges = np.tile(np.array([np.inf, -np.inf], np.float32), (3, 1))
    ranges[2] = -100, 100
    widen(rows, tops, limit, means, bases, ranges)
    expected = scaled(rows, tops, limit)
    for f in range(2):
        coefficients = (expected - means[f]) @ bases[f].T
        if coefficients.size:
            np.testing.assert_allclose(ranges[f], [coefficients.min(), coefficients.max()], atol=1e-5)
        else:
            assert ranges[f].tolist() == [np.inf, -np.inf]
    assert ranges[2].tolist() == [-100, 100]


@given(seed=st.integers(0, 1000), n=st.sampled_from(SIZES))
def test_counts_are_those_of_numpy(seed: int, n: int) -> None:
    rows, tops, limit = case(seed, n, 9)
    means, bases = frames(seed, 2, 9)
    ranges, bins = np.array([[-4, 4], [-2, 3]], np.float32), np.array([700, 70])
    counts = np.zeros((2, 9, 700), np.int64)
    for _ in range(2):
        count(rows, tops, limit, means, bases, ranges, bins, counts)
    expected = scaled(rows, tops, limit)
    assert counts.sum(axis=2).tolist() == [[2 * len(expected)] * 9] * 2
    assert not counts[1, :, 70:].any()
    for f in range(2):
        coefficients = np.clip((expected - means[f]) @ bases[f].T, *ranges[f])
        for c in range(9):
            wanted, _ = np.histogram(coefficients[:, c], bins=bins[f], range=tuple(ranges[f]))
            # A value within rounding of an edge may fall on either side of it.
            assert np.abs(counts[f, c, : bins[f]] - 2 * wanted).sum() <= 8


def test_a_range_without_width_has_one_bin() -> None:
    rows = np.ones((5, 9), np.float32)
    counts = np.zeros((1, 9, 70), np.int64)
    means, bases = frames(0, 1, 9)
    count(rows, np.ones(5, np.float32), 0.0, means, bases, np.zeros((1, 2), np.float32), np.array([70]), counts)
    assert counts[0, :, 0].tolist() == [5] * 9


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_maximum(bad: float) -> None:
    rows = np.ones((70, 9), np.float32)
    rows[66, 5] = bad
    found = np.empty(70, np.float32)
    maxima(rows, found)
    np.testing.assert_array_equal(found, np.where(np.arange(70) == 66, np.float32(bad), 1))


def test_loops_compile_where_nothing_can_be_written() -> None:
    """As in a container with a read-only file system."""
    program = (
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from filterlens.lenses.filters.layer import filter_maxima\n"
        "print(filter_maxima(np.full((3, 9), -2.0, np.float32)).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[2.0, 2.0, 2.0]", done.stderr


PRELOADED = """
import torch
import numpy as np
from filterlens.dumps.rows import fletcher32
from filterlens.lenses.filters import kernels, machine_code
from filterlens.lenses.filters.layer import Layer
from filterlens.lenses.filters.pooling import Filters, Member, pool_filters

loops = [fletcher32, kernels.count, kernels.maxima, kernels.scatter, kernels.widen]
loaded = [list(loop.signatures) for loop in loops]
assert all(len(own) == 1 for own in loaded)
layer = Layer(torch.randn(8, 4, 3, 3))
_ = layer.raw_moments
filters = lambda: [Filters(0, layer.rows, layer.maxima, layer.limit)]
members = [Member(name, "c", None, "", [layer.scaled_moments] * 12, filters) for name in "ab"]
assert pool_filters(members, 9).lists["models"]
fletcher32(np.zeros(64, np.uint8)[:32].view(np.uint16))
assert [list(loop.signatures) for loop in loops] == loaded
"""


def test_the_machine_code_that_is_preloaded_is_all_that_an_analysis_needs() -> None:
    subprocess.run([sys.executable, "-c", PRELOADED], check=True)
