"""Curvature: Lanczos and Hutchinson against matrices whose eigenvalues are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from filterlens.lenses.flatness.curvature import curvature


def symmetric(values: Sequence[float], seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    basis: Tensor
    basis, _ = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))
    matrix: Tensor = basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ basis.T
    return matrix


def test_lanczos_finds_both_ends_of_a_known_spectrum() -> None:
    matrix = symmetric([*np.linspace(-1, 2, 60), 7.0, -3.0])
    found = curvature(lambda v: [matrix @ v[0]], [matrix[0]], iterations=40, probes=0, seed=0)
    assert found.highest == pytest.approx(7, abs=1e-8)
    assert found.lowest == pytest.approx(-3, abs=1e-8)
    assert max(found.highest_error, found.lowest_error) < 1e-4


def test_an_eigenvalue_lies_within_the_error_after_few_iterations_too() -> None:
    values = [*np.linspace(-1, 2, 60), 2.5, -1.2]
    matrix = symmetric(values)
    for iterations in (1, 2, 4, 8, 16):
        found = curvature(lambda v: [matrix @ v[0]], [matrix[0]], iterations=iterations, probes=0, seed=1)
        for value, error in ((found.highest, found.highest_error), (found.lowest, found.lowest_error)):
            assert min(abs(np.array(values) - value)) <= error + 1e-9


def test_the_trace_is_exact_for_a_diagonal_and_unbiased_otherwise() -> None:
    diagonal = torch.tensor([1.0, -4.0, 2.5])
    found = curvature(lambda v: [diagonal * v[0]], [diagonal], iterations=1, probes=3, seed=0)
    assert found.traces == pytest.approx([-0.5] * 3)
    matrix = symmetric(range(20))
    found = curvature(lambda v: [matrix @ v[0]], [matrix[0]], iterations=1, probes=400, seed=0)
    error = np.std(found.traces) / 20
    assert abs(np.mean(found.traces) - 190) < 4 * error


def test_a_matrix_of_zeros_has_no_curvature() -> None:
    found = curvature(lambda v: [torch.zeros(5)], [torch.zeros(5)], iterations=9, probes=2, seed=0)
    assert (found.highest, found.lowest, found.traces) == (0, 0, (0, 0))
