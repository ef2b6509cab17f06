from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from filterlens.errors import InputError, NonFiniteWeightError
from filterlens.lenses.filters.layer import filter_maxima, sparse_filters
from filterlens.lenses.filters.sparsity import sparsity


def layer(seed: int, c_out: int = 8, c_in: int = 6, k: int = 3) -> torch.Tensor:
    return torch.randn(c_out, c_in, k, k, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("zeros", [0, 1, 17, 47])
def test_sparsity_counts_the_filters_that_were_zeroed(zeros: int) -> None:
    weight = layer(0).clamp(min=0.1)
    weight.view(48, 9)[:zeros] = 0
    assert sparsity(weight) == zeros / 48


def test_a_filter_at_the_boundary_is_sparse_for_the_paper_only() -> None:
    weight = torch.ones(1, 2, 3, 3, dtype=torch.float64) * 4
    weight[0, 0] = 0.04
    assert sparsity(weight) == 0.5
    assert sparsity(weight, convention="torchconvquality") == 0
    assert sparsity(weight, convention="filterdb") == 0


def test_one_large_weight_keeps_a_filter() -> None:
    weight = torch.full((1, 2, 3, 3), 1e-6)
    weight[0, 0, 1, 2] = -1
    assert sparsity(weight) == 0.5


def test_a_layer_of_zeros_is_wholly_sparse_but_not_in_filterdb() -> None:
    weight = torch.zeros(4, 2, 3, 3)
    assert sparsity(weight) == 1
    assert sparsity(weight, convention="torchconvquality") == 1
    assert sparsity(weight, convention="filterdb") == 0


@given(seed=st.integers(0, 1000), scale=st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**10]), turns=st.integers(0, 3))
def test_sparsity_does_not_change_with_scale_order_or_quarter_turns(seed: int, scale: float, turns: int) -> None:
    torch.manual_seed(seed)
    weight = layer(seed) * torch.logspace(0, -4, 48)[torch.randperm(48)].view(8, 6, 1, 1)
    moved = torch.rot90(weight[torch.randperm(8)][:, torch.randperm(6)], turns, dims=(2, 3)) * scale
    assert sparsity(moved) == sparsity(weight)


@given(seed=st.integers(0, 100), low=st.floats(0.001, 0.5), factor=st.floats(1, 1.9))
def test_sparsity_grows_with_its_threshold(seed: int, low: float, factor: float) -> None:
    weight = layer(seed)
    assert sparsity(weight, threshold=low) <= sparsity(weight, threshold=low * factor) <= 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_layer_with_nan_or_inf_has_no_sparsity(bad: float) -> None:
    weight = layer(1)
    weight[3, 2, 0, 1] = bad
    with pytest.raises(NonFiniteWeightError, match="holds NaN or Inf"):
        sparsity(weight)


@pytest.mark.parametrize("threshold", [0, 1, -0.1, float("nan")])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        sparsity(layer(0), threshold=threshold)


def test_maxima_of_many_filters_are_those_of_numpy() -> None:
    rows = np.random.default_rng(3).standard_normal((40_000, 9), dtype=np.float32)
    np.testing.assert_array_equal(filter_maxima(rows), np.abs(rows).max(axis=1))
    rows[[3, 70, 5000], [0, 8, 4]] = np.nan
    rows[[4, 71], [1, 8]] = np.inf, -np.inf
    np.testing.assert_array_equal(filter_maxima(rows), np.abs(rows).max(axis=1))


def test_sparse_filters_are_told_one_by_one() -> None:
    assert sparse_filters(np.array([1.0, 0.005, 0.5], np.float32)).tolist() == [False, True, False]
