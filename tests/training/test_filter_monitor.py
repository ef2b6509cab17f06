"""The filter monitor gives the lens's numbers while the weights change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from filterlens.errors import LensSkipped
from filterlens.lenses.filters.analyzer import score_layer
from filterlens.training import Monitor


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 4, 5))


def test_layers_have_the_lens_scores_and_the_mean_its_weights() -> None:
    model = network()
    reading = Monitor(model, lens="filters")()
    first, last = (
        score_layer(model.get_parameter("0.weight").detach()),
        score_layer(model.get_parameter("2.weight").detach()),
    )
    assert list(reading.layers) == ["0", "2"]
    assert reading.layers["2"]["variance_entropy"] == pytest.approx(last["variance_entropy"])
    expected = (8 * first["orthogonality"] + 4 * last["orthogonality"]) / 12
    assert reading.model["orthogonality"] == pytest.approx(expected)


def test_readings_follow_the_weights() -> None:
    model = network()
    monitor = Monitor(model, lens="filters")
    assert monitor().model["sparsity"] == 0
    with torch.no_grad():
        model.get_parameter("2.weight")[:, 2:] = 0
    assert monitor().layers["2"]["sparsity"] == 0.75
    assert monitor().model["sparsity"] == pytest.approx(24 / 56)


def test_a_layer_that_is_not_finite_stays_out_of_the_mean() -> None:
    model = network()
    expected = Monitor(nn.Sequential(model.get_submodule("0")), lens="filters")().model
    with torch.no_grad():
        model.get_parameter("2.weight")[0, 0, 0, 0] = math.inf
    reading = Monitor(model, lens="filters")()
    assert math.isnan(reading.layers["2"]["sparsity"])
    assert reading.model == pytest.approx(expected)


def test_other_kernels_on_request_and_none_is_an_error() -> None:
    assert list(Monitor(network(), lens="filters", kernel="all")().layers) == ["0", "2", "3"]
    assert list(Monitor(network(), lens="filters", kernel="5x5")().layers) == ["3"]
    with pytest.raises(LensSkipped, match="Sequential holds no convolution with 7x7 filters"):
        Monitor(network(), lens="filters", kernel="7x7")()
