"""Closed forms of the spectra lens's scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from filterlens.lens import score_rows
from filterlens.lenses.spectra.decomposition import singular_values
from filterlens.lenses.spectra.scores import (
    Spectrum,
    bulk_share,
    effective_rank,
    frobenius_norm,
    power_law_alpha,
    spectral_condition,
    spectral_norm,
    stable_rank,
)


def spectrum(matrix: torch.Tensor) -> Spectrum:
    return Spectrum(singular_values(matrix), matrix.shape[0], matrix.shape[1])


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 7.0])
def test_an_orthogonal_matrix_has_full_ranks_and_condition_1(scale: float) -> None:
    found = spectrum(scale * torch.linalg.qr(random(40, 40))[0])
    assert spectral_norm(found) == pytest.approx(scale)
    assert frobenius_norm(found) == pytest.approx(scale * math.sqrt(40))
    assert stable_rank(found) == pytest.approx(40)
    assert effective_rank(found) == pytest.approx(40)
    assert spectral_condition(found) == pytest.approx(1)
    assert bulk_share(found) == 1
    assert math.isnan(power_law_alpha(found))  # all eigenvalues are equal


def test_a_matrix_of_rank_1_has_ranks_1() -> None:
    found = spectrum(torch.outer(random(30), random(50)))
    assert stable_rank(found) == pytest.approx(1)
    assert effective_rank(found) == pytest.approx(1)
    assert spectral_condition(found) == pytest.approx(1)
    assert spectral_norm(found) == pytest.approx(frobenius_norm(found))
    assert bulk_share(found) == pytest.approx(29 / 30)


def test_two_unequal_directions() -> None:
    found = spectrum(torch.diag(torch.tensor([3.0, 1.0])))
    assert stable_rank(found) == pytest.approx(10 / 9)
    assert effective_rank(found) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert spectral_condition(found) == pytest.approx(3)


def test_random_weights_are_bulk_and_a_spike_stands_out() -> None:
    noise = random(200, 300)
    assert bulk_share(spectrum(noise)) > 0.97
    spiked = noise + 40 * torch.outer(*(one / one.norm() for one in (random(200), random(300).flip(0))))
    assert bulk_share(spectrum(spiked)) == pytest.approx(199 / 200, abs=0.011)


def test_stable_rank_of_random_weights_is_near_its_chance_level() -> None:
    m, n = 400, 900
    assert stable_rank(spectrum(random(m, n))) == pytest.approx(m * n / (math.sqrt(m) + math.sqrt(n)) ** 2, rel=0.03)


def test_ranks_are_in_order_and_scale_changes_the_norms_alone() -> None:
    one, other = spectrum(random(30, 70)), spectrum(100 * random(30, 70))
    assert 1 <= stable_rank(one) <= effective_rank(one) <= 30
    for score in (stable_rank, effective_rank, spectral_condition, power_law_alpha, bulk_share):
        assert score(other) == pytest.approx(score(one), rel=1e-6)
    assert spectral_norm(other) == pytest.approx(100 * spectral_norm(one))


@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, math.nan), np.empty(0)])
def test_a_matrix_without_a_spectrum_has_no_ranks(values: np.ndarray) -> None:
    found: dict[str, Any] = {str(row["metric"]): row["value"] for row in score_rows("spectra", Spectrum(values, 5, 6))}
    assert all(math.isnan(value) for name, value in found.items() if "norm" not in name)
    assert (found["spectral_norm"] == 0) == (found["frobenius_norm"] == 0) == (len(values) > 0 and values[0] == 0)
    assert "operator_norm_bound" not in found
