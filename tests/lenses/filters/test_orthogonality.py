from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lenses.filters import oracles

from filterlens.errors import NonFiniteWeightError
from filterlens.lenses.filters.orthogonality import orthogonality


def layer(seed: int, c_out: int = 8, c_in: int = 6, k: int = 3) -> torch.Tensor:
    return torch.randn(c_out, c_in, k, k, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("c_out", [2, 16, 54, 300])
def test_an_orthogonal_initialisation_scores_one(c_out: int) -> None:
    weight = torch.empty(c_out, 40, 3, 3)
    torch.nn.init.orthogonal_(weight, generator=torch.Generator().manual_seed(0))
    assert orthogonality(weight) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("c_out", [2, 130, 300])
def test_equal_and_opposite_rows_score_zero(c_out: int) -> None:
    signs = (-1.0) ** torch.arange(c_out)
    weight = layer(0, 1) * signs.view(-1, 1, 1, 1)
    assert orthogonality(weight) == pytest.approx(0, abs=1e-6)


def test_a_known_angle_is_found() -> None:
    weight = torch.zeros(2, 1, 3, 3)
    weight[0, 0, 0, 0] = 5
    weight[1, 0, 0, 0] = math.cos(math.radians(60))
    weight[1, 0, 0, 1] = math.sin(math.radians(60))
    assert orthogonality(weight) == pytest.approx(0.5, abs=1e-7)


def test_one_output_channel_has_no_orthogonality() -> None:
    assert math.isnan(orthogonality(layer(0, 1)))


def test_rows_of_zeros_cost_nothing() -> None:
    assert orthogonality(torch.zeros(64, 4, 3, 3)) == 1
    weight = torch.eye(9).view(9, 1, 3, 3)
    weight[4] = 0
    assert orthogonality(weight) == 1


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (16, 3, 3, 3), (65, 1, 7, 7), (131, 5, 3, 3)])
@pytest.mark.parametrize("shift", [0.0, 0.5, 10.0])
def test_orthogonality_is_that_of_the_oracle(shape: tuple[int, ...], shift: float) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(2)) + shift
    assert orthogonality(weight) == pytest.approx(oracles.orthogonality(weight.numpy()), abs=1e-6)
    assert orthogonality(weight.double()) == pytest.approx(oracles.orthogonality(weight.double().numpy()), abs=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-30, 1e-6, 0.37, 91.0, 1e25]), turns=st.integers(0, 3))
def test_orthogonality_does_not_change_with_scale_order_sign_or_quarter_turns(
    seed: int, scale: float, turns: int
) -> None:
    torch.manual_seed(seed)
    weight = layer(seed)
    moved = torch.rot90(weight[torch.randperm(8)][:, torch.randperm(6)], turns, dims=(2, 3)) * scale
    moved[seed % 8] *= -1
    assert orthogonality(moved) == pytest.approx(orthogonality(weight), abs=1e-6)


@settings(max_examples=30)
@given(c_out=st.integers(2, 12), c_in=st.integers(1, 5), k=st.integers(1, 5), seed=st.integers(0, 100))
def test_orthogonality_stays_in_its_bounds(c_out: int, c_in: int, k: int, seed: int) -> None:
    assert 0 <= orthogonality(layer(seed, c_out, c_in, k)) <= 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_layer_with_nan_or_inf_has_no_orthogonality(bad: float) -> None:
    weight = layer(0)
    weight[0, 0, 0, 0] = bad
    with pytest.raises(NonFiniteWeightError, match="holds NaN or Inf"):
        orthogonality(weight)
