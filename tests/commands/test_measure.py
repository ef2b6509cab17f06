"""`filterlens.measure`: scores of a model in memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import filterlens
from filterlens.errors import InputError, LensSkipped
from filterlens.lenses.filters.analyzer import score_layer


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 5), nn.Conv2d(8, 4, 3))


def test_one_row_a_layer_with_the_scores_of_its_weight() -> None:
    model = network()
    table = filterlens.measure(model)
    assert table["layer"].tolist() == ["0", "4"]
    assert table["conv_depth"].tolist() == [0, 2]
    for row, layer in zip(table.to_dict("records"), ("0.weight", "4.weight"), strict=True):
        scores = score_layer(model.get_parameter(layer).detach())
        for name in ("sparsity", "variance_entropy", "variance_entropy_raw", "orthogonality"):
            assert row[name] == scores[name], name


def test_all_kernels_can_be_asked_for() -> None:
    table = filterlens.measure(network(), kernel="all")
    assert table["kind"].tolist() == ["3x3", "5x5", "3x3"]
    assert table["variance_entropy_raw_normalized"].isna().tolist() == [False, True, False]


def test_the_model_is_left_exactly_as_it_was() -> None:
    model = network().train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    filterlens.measure(model, fold_batchnorm=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert model.training
    assert not model[1].training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_folding_changes_the_entropy_of_the_folded_layer_only() -> None:
    model = network().eval()
    nn.init.uniform_(model.get_buffer("1.running_var"), 0.1, 50)
    raw, folded = filterlens.measure(model), filterlens.measure(model, fold_batchnorm=True)
    differs = (raw["variance_entropy_raw"] - folded["variance_entropy_raw"]).abs() > 1e-4
    assert differs.tolist() == [True, False]


def test_a_layer_with_nan_has_no_scores_and_says_so() -> None:
    model = network()
    model.get_parameter("0.weight").data[0, 0, 0, 0] = math.nan
    first, last = filterlens.measure(model).to_dict("records")
    assert math.isnan(first["sparsity"])
    assert "NaN" in first["note"]
    assert not math.isnan(last["sparsity"])
    assert last["note"] == ""


def test_an_example_is_used_for_the_depth() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 9 * 9, 2))
    assert filterlens.measure(model)["note"].tolist() == ["depth is the order of the state dict's keys"]
    assert filterlens.measure(model, torch.rand(1, 3, 11, 11))["note"].tolist() == [""]
    with pytest.raises(InputError, match=r"does not take images of shape \(1, 3, 8, 8\)"):
        filterlens.measure(model, torch.rand(1, 3, 8, 8))


def test_a_model_without_convolutions_is_refused() -> None:
    with pytest.raises(LensSkipped, match="Linear holds no convolution weights"):
        filterlens.measure(nn.Linear(3, 3))
