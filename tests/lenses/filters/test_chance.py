from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from filterlens.lenses.filters import chance
from filterlens.lenses.filters.orthogonality import orthogonality
from filterlens.lenses.filters.sparsity import sparsity
from filterlens.lenses.filters.variance_entropy import variance_entropy

Score = Callable[[torch.Tensor], float]

SHAPES = [(5, 1, 3, 3), (10, 2, 3, 3), (19, 4, 3, 3), (10, 30, 3, 3), (7, 10, 5, 5), (10, 8, 7, 7)]


def simulated(score: Score, shape: tuple[int, ...], trials: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.tensor([score(torch.randn(shape, generator=generator)) for _ in range(trials)], dtype=torch.float64)


def check(values: torch.Tensor, mean: float, deviation: float) -> None:
    """Hold a simulation against four of its own standard errors."""
    trials = len(values)
    assert abs(float(values.mean()) - mean) < 4 * deviation / math.sqrt(trials)
    assert float(values.std()) == pytest.approx(deviation, rel=4 / math.sqrt(2 * trials) + 0.02)


@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (16, 3, 3, 3), (40, 16, 3, 3), (8, 1, 1, 2)])
def test_orthogonality_by_chance_is_what_random_layers_have(shape: tuple[int, ...]) -> None:
    check(simulated(orthogonality, shape, 1500), *chance.orthogonality_by_chance(shape[0], math.prod(shape[1:])))


@pytest.mark.parametrize(
    "shape",
    [
        (5, 1, 3, 3),
        (10, 2, 3, 3),
        (19, 4, 3, 3),
        (10, 30, 3, 3),
        (7, 10, 5, 5),
        (10, 8, 7, 7),
        (9, 4, 2, 2),
        (16, 3, 4, 4),
    ],
)
def test_variance_entropy_by_chance_is_what_random_layers_have(shape: tuple[int, ...]) -> None:
    mean, deviation = chance.variance_entropy_by_chance(shape[0] * shape[1], shape[2] * shape[3])
    values = simulated(variance_entropy, shape, 1000)
    # Sizes between those simulated are interpolated.
    assert abs(float(values.mean()) - mean) < 0.2 * deviation
    assert float(values.std()) == pytest.approx(deviation, rel=0.12)


def test_variance_entropy_by_chance_goes_on_smoothly_beyond_the_table() -> None:
    inside, outside = (chance.variance_entropy_by_chance(n, 9) for n in (4095, 4097))
    assert inside == pytest.approx(outside, rel=2e-3)
    far_mean, far_deviation = chance.variance_entropy_by_chance(1 << 20, 9)
    assert 0.95424 < far_mean < math.log10(9)
    assert 0 < far_deviation < 1e-6


@pytest.mark.slow
def test_variance_entropy_of_a_large_layer_follows_the_extrapolation() -> None:
    shape = (128, 256, 3, 3)
    mean, deviation = chance.variance_entropy_by_chance(128 * 256, 9)
    values = simulated(variance_entropy, shape, 60)
    assert abs(float(values.mean()) - mean) < 0.7 * deviation


def test_what_is_not_simulated_has_no_chance_level() -> None:
    assert all(math.isnan(x) for x in chance.variance_entropy_by_chance(100, 36))
    assert all(math.isnan(x) for x in chance.variance_entropy_by_chance(2, 9))
    assert math.isnan(chance.variance_entropy_z(0.0, 2, 9))
    assert all(math.isnan(x) for x in chance.orthogonality_by_chance(1, 9))
    assert math.isnan(chance.orthogonality_z(0.0, 5, 1))


def test_sparsity_by_chance_is_what_tiny_filters_have() -> None:
    # Filters of one weight are sparse often enough to be counted.
    values = simulated(sparsity, (40, 10, 1, 1), 800)
    p = chance.sparsity_by_chance(400, 1)
    assert float(values.mean()) == pytest.approx(p, rel=0.03)


def test_sparsity_z_of_a_common_layer_is_its_number_of_sparse_filters() -> None:
    assert chance.sparsity_z(0, 4096, 9) == pytest.approx(0, abs=1e-6)
    assert chance.sparsity_z(123, 4096, 9) == pytest.approx(123, abs=1e-6)


def test_sparsity_z_counts_binomial_deviations_where_random_filters_are_sparse() -> None:
    n = 100_000
    p = chance.sparsity_by_chance(n, 1)
    expected = n * p + 3 * math.sqrt(n * p * (1 - p))
    assert chance.sparsity_z(round(expected), n, 1) == pytest.approx(3, abs=0.05)


def test_an_initialised_layer_is_not_told_from_chance_and_an_orthogonal_one_is() -> None:
    weight = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(0))
    assert abs(chance.orthogonality_z(orthogonality(weight), 64, 288)) < 4
    assert abs(chance.variance_entropy_z(variance_entropy(weight), 2048, 9)) < 4
    torch.nn.init.orthogonal_(weight, generator=torch.Generator().manual_seed(0))
    assert chance.orthogonality_z(orthogonality(weight), 64, 288) > 40
