from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from filterlens.lenses.filters import moments
from filterlens.lenses.filters.moments import Moments, component_shifts, densities, histograms, pairwise_shifts, shift


def filters(seed: int, n: int = 400, stretch: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 9, generator=generator) * torch.logspace(0, -math.log10(stretch), 9) + 0.2


@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_moments_merge_to_those_of_the_whole(seed: int, cuts: list[int]) -> None:
    rows = filters(seed)
    places = [0, *sorted(cuts), 400]
    merged = sum(
        (Moments.of(rows[a:b]) for a, b in pairwise(places)),
        Moments.empty(9),
    )
    values = rows.double().numpy()
    assert merged.n == 400
    np.testing.assert_allclose(merged.mean, values.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(merged.scatter, np.cov(values.T) * 399, atol=1e-9)


def test_moments_far_from_zero_keep_their_digits() -> None:
    rows = filters(1).double() + 1e6
    merged = Moments.of(rows[:150]) + Moments.of(rows[150:])
    np.testing.assert_allclose(merged.scatter, np.cov(rows.numpy().T) * 399, rtol=1e-6, atol=1e-4)


def test_principal_components_are_those_of_the_singular_value_decomposition() -> None:
    rows = filters(2, stretch=30)
    found = Moments.of(rows).principal_components()
    assert found is not None
    centred = rows.double().numpy() - rows.double().numpy().mean(axis=0)
    _, s, vectors = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.ratio, s**2 / (s**2).sum(), atol=1e-12)
    np.testing.assert_allclose(np.abs((found.basis * vectors).sum(axis=1)), 1, atol=1e-9)
    assert (found.basis[np.arange(9), np.abs(found.basis).argmax(axis=1)] > 0).all()
    coefficients = found.coefficients(rows.double()).numpy()
    np.testing.assert_allclose(np.cov(coefficients.T), np.diag(s**2) / 399, atol=1e-9)


@pytest.mark.parametrize("rows", [torch.empty(0, 9), torch.ones(1, 9), torch.full((50, 9), 0.1)])
def test_what_does_not_vary_has_no_components(rows: torch.Tensor) -> None:
    assert Moments.of(rows).principal_components() is None


@given(seed=st.integers(0, 1000), bins=st.sampled_from([1, 7, 70]))
def test_histograms_are_those_of_numpy(seed: int, bins: int) -> None:
    values = filters(seed).double()
    low, high = float(values.min()), float(values.max())
    found = histograms(values, low, high, bins)
    for column in range(9):
        expected, _ = np.histogram(values[:, column].numpy(), bins=bins, range=(low, high))
        # A value within rounding of an edge may fall on either side of it.
        assert np.abs(found[column] - expected).sum() <= 2
    assert found.sum() == 400 * 9


def test_fine_bins_add_up_to_the_coarse_ones() -> None:
    values = filters(3).double()
    fine, coarse = (histograms(values, -4, 4, bins) for bins in (700, 70))
    np.testing.assert_array_equal(fine.reshape(9, 70, 10).sum(axis=2), coarse)


def test_densities_follow_the_papers_with_empty_bins_at_eps() -> None:
    counts = np.array([[2, 0, 6, 0]])
    eps = float(np.finfo(np.float32).eps)
    p = np.array([2 / 8 / 0.5, eps, 6 / 8 / 0.5, eps])
    np.testing.assert_allclose(densities(counts, 0.5)[0], p / p.sum(), rtol=1e-12)


def test_an_empty_histogram_has_no_density() -> None:
    assert np.isnan(densities(np.zeros((2, 5), dtype=np.int64), 0.1)).all()


def slow_shift(a: torch.Tensor, b: torch.Tensor, bins: int = 70) -> float:
    """The papers' recipe step by step: SVD, numpy histograms, sums."""
    first, second = a.double().numpy(), b.double().numpy()
    union = np.concatenate([first, second])
    mean = union.mean(axis=0)
    _, s, basis = np.linalg.svd(union - mean, full_matrices=False)
    # The common range, and with it every bin, depends on the signs.
    basis = np.array([v if v[np.abs(v).argmax()] > 0 else -v for v in basis])
    ratio = s**2 / (s**2).sum()
    sides = [(side - mean) @ basis.T for side in (first, second)]
    limits = (min(side.min() for side in sides), max(side.max() for side in sides))
    total = 0.0
    for i in range(9):
        p, q = (np.histogram(side[:, i], bins=bins, range=limits, density=True)[0] for side in sides)
        p[p == 0] = q[q == 0] = np.finfo(np.float32).eps
        p, q = p / p.sum(), q / q.sum()
        total += ratio[i] * sum(p[j] * np.log(p[j] / q[j]) + q[j] * np.log(q[j] / p[j]) for j in range(bins))
    return total


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), stretch=st.floats(1.5, 30), n=st.integers(2, 300))
def test_shift_is_that_of_the_slow_recipe(seed: int, stretch: float, n: int) -> None:
    a, b = filters(seed, n).double(), filters(seed + 1, 250, stretch).double()
    assert shift(a, b) == pytest.approx(slow_shift(a, b), rel=1e-3)


@given(seed=st.integers(0, 1000), n=st.integers(1, 300))
def test_shift_is_symmetric_and_not_negative(seed: int, n: int) -> None:
    a, b = filters(seed, n).double(), filters(seed + 7, 200, 5).double()
    assert shift(a, b) == pytest.approx(shift(b, a), rel=1e-6)
    assert shift(a, b) > 0


def test_equal_sets_do_not_shift_and_empty_ones_have_no_shift() -> None:
    rows = filters(4)
    assert shift(rows, rows[torch.randperm(400, generator=torch.Generator().manual_seed(0))]) == 0
    assert math.isnan(shift(rows, rows[:0]))
    assert math.isnan(shift(torch.ones(5, 9), torch.ones(5, 9)))


def test_pairwise_shifts_are_those_of_every_pair() -> None:
    generator = np.random.default_rng(0)
    p = densities(generator.integers(0, 50, (5, 9, 70)), 0.1)
    ratio = generator.dirichlet(np.ones(9))
    found = pairwise_shifts(p, ratio)
    for i in range(5):
        for j in range(5):
            assert found[i, j] == pytest.approx(ratio @ component_shifts(p[i], p[j]), abs=1e-12)


def test_the_number_of_bins_is_that_of_the_papers() -> None:
    assert moments.BINS == 70
