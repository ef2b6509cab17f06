from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from filterlens.manifolds.spans import angle_to_span, orthonormal_basis, project_on_span


@settings(max_examples=25, deadline=None)
@given(rank=st.integers(1, 6), extra=st.integers(0, 5), seed=st.integers(0, 1000))
def test_a_basis_has_the_rank_of_its_vectors_whatever_their_number(rank: int, extra: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    independent = torch.randn(2, rank, 12, generator=g, dtype=torch.float64)
    mixed = torch.randn(2, extra, rank, generator=g, dtype=torch.float64) @ independent
    basis = orthonormal_basis(torch.cat([independent, mixed], dim=1))
    lengths = basis.norm(dim=2)
    assert ((lengths - 1).abs() < 1e-5).sum(dim=1).tolist() == [rank, rank]
    assert ((lengths > 1e-9).sum(dim=1) == rank).all()


def test_projection_agrees_with_least_squares() -> None:
    g = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, 4, 10, generator=g, dtype=torch.float64)
    target = torch.randn(3, 10, generator=g, dtype=torch.float64)
    solution = torch.linalg.lstsq(vectors.mT, target.unsqueeze(2)).solution
    slow = (vectors.mT @ solution).squeeze(2)
    torch.testing.assert_close(project_on_span(target, orthonormal_basis(vectors)), slow, atol=1e-9, rtol=0)


def test_no_vectors_span_nothing() -> None:
    basis = orthonormal_basis(torch.zeros(2, 3, 5))
    assert not basis.any()
    assert not project_on_span(torch.ones(2, 5), basis).any()


@pytest.mark.parametrize("degrees", [0.0, 30.0, 45.0, 60.0, 90.0])
def test_angles_are_those_of_geometry(degrees: float) -> None:
    # the published code says 48.19 for 45 degrees and 66.42 for 60
    radians = math.radians(degrees)
    basis = orthonormal_basis(torch.tensor([[[3.0, 0.0, 0.0]]]))
    vector = 7 * torch.tensor([[math.cos(radians), math.sin(radians), 0.0]], dtype=torch.float64)
    assert angle_to_span(vector, basis).item() == pytest.approx(degrees, abs=1e-6)


def test_a_vector_of_zeros_has_no_angle() -> None:
    assert angle_to_span(torch.zeros(1, 3), orthonormal_basis(torch.eye(3)[None])).isnan().all()
