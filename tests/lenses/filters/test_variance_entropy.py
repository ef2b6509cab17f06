from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lenses.filters import oracles
from numpy.typing import NDArray

from filterlens.errors import InputError, NonFiniteWeightError
from filterlens.lenses.filters.variance_entropy import (
    entropy_of_random_filters,
    variance_entropy,
    variance_entropy_raw,
    variance_entropy_raw_normalized,
)

Score = Callable[[torch.Tensor], float]


def layer(seed: int, c_out: int = 8, c_in: int = 6, k: int = 3) -> torch.Tensor:
    return torch.randn(c_out, c_in, k, k, generator=torch.Generator().manual_seed(seed))


SCORES = [variance_entropy, variance_entropy_raw]
ORACLES = [oracles.variance_entropy, oracles.variance_entropy_raw]


@pytest.mark.parametrize("score", SCORES)
def test_equal_filters_have_no_entropy(score: Score) -> None:
    assert score(layer(0, 1, 1).repeat(64, 32, 1, 1)) == 0
    assert score(layer(0, 1, 1).repeat(256, 128, 1, 1)) == 0


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("weight", [torch.zeros(4, 4, 3, 3), layer(0, 1, 1)], ids=["zeros", "one filter"])
def test_a_layer_without_variance_has_no_entropy(score: Score, weight: torch.Tensor) -> None:
    assert score(weight) == 0


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("k", [2, 3, 5, 7])
def test_filters_that_fill_every_direction_reach_the_maximum(score: Score, k: int) -> None:
    directions = torch.eye(k * k)
    weight = torch.cat([directions, -directions]).view(2 * k * k, 1, k, k)
    assert score(weight) == pytest.approx(math.log10(k * k), abs=1e-7)


def test_two_equal_directions_have_the_entropy_of_two() -> None:
    directions = torch.eye(9)[:2]
    weight = torch.cat([directions, -directions]).view(4, 1, 3, 3)
    assert variance_entropy(weight) == pytest.approx(math.log10(2), abs=1e-7)


def test_scaled_filters_forget_their_size_and_raw_ones_do_not() -> None:
    weight = layer(1)
    sizes = torch.logspace(0, -1, 48).view(8, 6, 1, 1)
    assert variance_entropy(weight * sizes) == pytest.approx(variance_entropy(weight), abs=1e-6)
    assert abs(variance_entropy_raw(weight * sizes) - variance_entropy_raw(weight)) > 1e-3


def test_sparse_filters_count_in_raw_entropy_only() -> None:
    weight = layer(2)
    more = torch.cat([weight, 1e-5 * layer(3)])
    assert variance_entropy(more) == pytest.approx(variance_entropy(weight), abs=1e-6)
    assert variance_entropy_raw(more) != pytest.approx(variance_entropy_raw(weight), abs=1e-6)


@pytest.mark.parametrize(("score", "oracle"), list(zip(SCORES, ORACLES, strict=True)))
@pytest.mark.parametrize("shape", [(1, 3, 3, 3), (16, 3, 3, 3), (64, 1, 7, 7), (8, 8, 1, 5), (181, 190, 3, 3)])
def test_entropy_is_that_of_the_oracle(
    score: Score, oracle: Callable[[NDArray[Any]], float], shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(shape, generator=generator) * torch.rand(*shape[:2], 1, 1, generator=generator) ** 6
    weight = weight * torch.linspace(0.2, 3, shape[2] * shape[3]).view(shape[2:]) + 0.1
    assert score(weight) == pytest.approx(oracle(weight.numpy()), abs=1e-6)


@pytest.mark.parametrize("share", [1.0, 1e-2, 1e-4, 1e-6, 1e-10])
@pytest.mark.parametrize("mean", [0.0, 1.0, 100.0])
def test_large_badly_conditioned_layers_keep_their_digits(share: float, mean: float) -> None:
    generator = torch.Generator().manual_seed(7)
    directions = torch.linalg.qr(torch.randn(9, 9, generator=generator))[0]
    spread = torch.tensor([1.0] + [math.sqrt(share)] * 8)
    rows = (torch.randn(160 * 128, 9, generator=generator) * spread) @ directions + mean
    weight = rows.view(160, 128, 3, 3)
    assert variance_entropy_raw(weight) == pytest.approx(oracles.variance_entropy_raw(weight.numpy()), abs=1e-5)
    assert variance_entropy(weight) == pytest.approx(oracles.variance_entropy(weight.numpy()), abs=1e-5)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-6, 0.37, 91.0]), turns=st.integers(0, 3))
@pytest.mark.parametrize("score", SCORES)
def test_entropy_does_not_change_with_scale_order_or_quarter_turns(
    score: Score, seed: int, scale: float, turns: int
) -> None:
    torch.manual_seed(seed)
    weight = layer(seed)
    moved = torch.rot90(weight[torch.randperm(8)][:, torch.randperm(6)], turns, dims=(2, 3)) * scale
    assert score(moved) == pytest.approx(score(weight), abs=1e-6)


@settings(max_examples=30)
@given(
    c_out=st.integers(1, 12),
    c_in=st.integers(1, 5),
    k=st.integers(1, 5),
    seed=st.integers(0, 100),
    power=st.integers(1, 9),
)
@pytest.mark.parametrize("score", SCORES)
def test_entropy_stays_in_its_bounds(score: Score, c_out: int, c_in: int, k: int, seed: int, power: int) -> None:
    value = score(layer(seed, c_out, c_in, k) ** power)
    assert 0 <= value <= math.log10(k * k) + 1e-12


@pytest.mark.parametrize("score", [*SCORES, variance_entropy_raw_normalized])
def test_a_layer_with_nan_has_no_entropy(score: Score) -> None:
    weight = layer(0)
    weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteWeightError, match="holds NaN or Inf"):
        score(weight)


def test_other_conventions_take_raw_filters() -> None:
    weight = layer(4)
    assert variance_entropy(weight, convention="torchconvquality") == variance_entropy_raw(weight)
    half = weight.half().float()
    assert variance_entropy(weight, convention="filterdb") == variance_entropy_raw(half) != variance_entropy_raw(weight)


def test_random_filters_have_a_normalised_entropy_near_one() -> None:
    assert variance_entropy_raw_normalized(layer(0, 64, 64)) == pytest.approx(1, abs=0.01)


def test_normalised_entropy_is_zero_where_the_fit_is_negative() -> None:
    assert entropy_of_random_filters(1) < 0
    assert variance_entropy_raw_normalized(layer(0, 1, 1)) == 0
    assert variance_entropy_raw_normalized(torch.zeros(2, 1, 3, 3)) == 0


def test_the_fit_has_the_values_of_its_authors() -> None:
    assert entropy_of_random_filters(1) == pytest.approx(-0.166, abs=1e-3)
    assert entropy_of_random_filters(2) == pytest.approx(-0.009, abs=1e-3)
    assert entropy_of_random_filters(1 << 40) == pytest.approx(0.9513, abs=1e-4)


def test_normalised_entropy_is_for_3x3_only() -> None:
    with pytest.raises(InputError, match="3x3 only"):
        variance_entropy_raw_normalized(layer(0, k=5))
