"""Singular values against dense float64 ones, and operator norms against the dense matrix of a convolution."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filterlens.lenses.spectra import decomposition
from filterlens.lenses.spectra.decomposition import operator_norm_bound, singular_values


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def operator(layer: nn.Module, size: tuple[int, int, int]) -> NDArray[np.float64]:
    """The dense matrix of a convolution without bias, from its outputs on every unit image."""
    images = torch.eye(math.prod(size), dtype=torch.float64).reshape(-1, *size)
    with torch.no_grad():
        outputs: Tensor = layer.double()(images)
    matrix: NDArray[np.float64] = outputs.flatten(1).T.numpy()
    return matrix


def true_norm(layer: nn.Module, size: tuple[int, int, int]) -> float:
    return float(np.linalg.norm(operator(layer, size), 2))


@pytest.mark.parametrize("shape", [(5, 7), (64, 576), (300, 40), (128, 128), (1, 9), (3, 1)])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e18])
def test_singular_values_are_those_of_a_float64_decomposition(shape: tuple[int, int], scale: float) -> None:
    matrix = random(*shape) * scale
    dense = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(singular_values(matrix), dense, rtol=1e-9, atol=1e-7 * dense[0])


def test_large_matrices_give_what_small_ones_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above so many rows another library finds the eigenvalues."""
    matrix = random(64, 576) * torch.logspace(0, -3, 64)[:, None]
    small = singular_values(matrix)
    called = []
    own = torch.linalg.eigvalsh

    def counted(gram: torch.Tensor) -> torch.Tensor:
        called.append(len(gram))
        found: torch.Tensor = own(gram)
        return found

    monkeypatch.setattr(decomposition, "_LARGE", 63)
    monkeypatch.setattr(torch.linalg, "eigvalsh", counted)
    large = singular_values(matrix)
    assert called
    np.testing.assert_allclose(large, small, rtol=1e-9)
    np.testing.assert_allclose(large, np.linalg.svd(matrix.double().numpy(), compute_uv=False), rtol=1e-9)
    assert np.array_equal(large, singular_values(matrix)), "the same every time"


def test_half_precision_is_decomposed_as_the_values_it_holds() -> None:
    matrix = random(30, 50).bfloat16()
    dense = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(singular_values(matrix), dense, rtol=1e-9)


def test_zeros_and_what_is_not_finite() -> None:
    assert singular_values(torch.zeros(3, 4)).tolist() == [0, 0, 0]
    assert np.isnan(singular_values(torch.tensor([[1.0, math.nan], [0, 1]]))).all()
    assert operator_norm_bound(torch.zeros(2, 2, 3, 3)) == (0, True)
    assert math.isnan(operator_norm_bound(torch.full((2, 2, 3, 3), math.inf))[0])


@pytest.mark.parametrize(
    ("c_out", "c_in", "kernel", "groups", "stride"),
    [(4, 3, 3, 1, 1), (3, 5, 3, 1, 2), (6, 6, 5, 6, 1), (8, 4, 3, 2, 1), (4, 4, 2, 1, 1), (5, 2, 1, 1, 1)],
)
@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("size", [5, 9])
def test_the_bound_is_never_below_the_norm(
    c_out: int, c_in: int, kernel: int, groups: int, stride: int, mode: Literal["zeros", "circular"], size: int
) -> None:
    layer = nn.Conv2d(c_in, c_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False, padding_mode=mode)
    layer.weight = nn.Parameter(random(c_out, c_in // groups, kernel, kernel, seed=size))
    true = true_norm(layer, (c_in, size, size))
    for gflop in (0.0, 1e-5, 1.0):
        assert operator_norm_bound(layer.weight.float(), groups=groups, gflop=gflop)[0] >= true


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_within_three_percent_for_a_large_circular_input(seed: int) -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1, bias=False, padding_mode="circular")
    layer.weight = nn.Parameter(random(4, 3, 3, 3, seed=seed))
    true = true_norm(layer, (3, 16, 16))
    assert true <= operator_norm_bound(layer.weight.float())[0] <= 1.03 * true


def test_a_delta_has_norm_1_and_the_bound_a_percent_more() -> None:
    weight = torch.zeros(8, 8, 3, 3)
    weight[range(8), range(8), 1, 1] = 1
    bound, gram = operator_norm_bound(weight)
    assert gram
    assert 1 <= bound < 1.02  # 1 / cos²(π / 32) = 1.0097, and 0.5 % of the iteration


def test_a_1x1_convolution_is_its_matrix() -> None:
    weight = random(12, 20, 1, 1)
    assert operator_norm_bound(weight)[0] == pytest.approx(singular_values(weight.flatten(1))[0], rel=6e-3)


def test_a_layer_beyond_the_work_allowed_is_bounded_by_unrolling() -> None:
    weight = random(64, 64, 3, 3)
    tight, gram = operator_norm_bound(weight)
    loose, by_gram = operator_norm_bound(weight, gflop=1e-4)
    assert (gram, by_gram) == (True, False)
    assert tight < loose < 3 * tight
    assert loose <= 3 * singular_values(weight.flatten(1))[0] * (1 + 1e-4)


def test_one_dimension_is_bounded_too() -> None:
    weight = random(3, 2, 5)
    layer = nn.Conv1d(2, 3, 5, padding=2, bias=False, padding_mode="circular")
    layer.weight = nn.Parameter(weight)
    with torch.no_grad():
        dense = layer.double()(torch.eye(32, dtype=torch.float64).reshape(-1, 2, 16)).flatten(1).T.numpy()
    true = float(np.linalg.norm(dense, 2))
    assert true <= operator_norm_bound(weight)[0] < 1.05 * true
