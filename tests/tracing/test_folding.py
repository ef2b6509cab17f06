"""Folding BatchNorm must not change what the network computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens.errors import InputError, LensSkipped
from filterlens.tracing.convolutions import network_convolutions
from filterlens.tracing.folding import can_fold, fold_weight


def norm(channels: int, **options: bool) -> nn.BatchNorm2d:
    """A BatchNorm whose every tensor matters."""
    layer = nn.BatchNorm2d(channels, **options).eval()
    with torch.no_grad():
        for tensor in (layer.weight, layer.running_var):
            if tensor is not None:
                tensor.uniform_(0.2, 3)
        for tensor in (layer.bias, layer.running_mean):
            if tensor is not None:
                tensor.normal_()
    return layer


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_folded_convolution_is_the_convolution_with_its_norm_less_the_bias(affine: bool, groups: int) -> None:
    conv, bn = nn.Conv2d(4, 6, 3, groups=groups, bias=False), norm(6, affine=affine)
    x = torch.randn(2, 4, 7, 7)
    both, zero = bn(conv(x)), bn(conv(torch.zeros_like(x)))
    folded = F.conv2d(x, fold_weight(conv.weight, bn), groups=groups)
    torch.testing.assert_close(folded, both - zero, rtol=1e-4, atol=1e-5)


def test_a_norm_without_running_variance_cannot_be_folded() -> None:
    loose = nn.BatchNorm2d(4, track_running_stats=False)
    assert not can_fold(loose)
    assert not can_fold(nn.GroupNorm(2, 4))
    with pytest.raises(InputError, match="GroupNorm keeps no running variance"):
        fold_weight(torch.ones(4, 1, 3, 3), nn.GroupNorm(2, 4))


def test_only_convolutions_directly_before_a_batchnorm_are_folded() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), norm(4)),
        *(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4)),
    )
    layers = {layer.name: layer for layer in network_convolutions(network, fold=True)}
    assert [name for name, layer in layers.items() if layer.folded] == ["0"]
    torch.testing.assert_close(layers["0"].read(), fold_weight(network.get_parameter("0.weight"), network[1]))
    torch.testing.assert_close(layers["3"].read(), network.get_parameter("3.weight").detach())


def test_a_convolution_shared_by_two_norms_is_not_folded() -> None:
    shared = nn.Conv2d(3, 3, 3)
    network = nn.Sequential(shared, norm(3), nn.Sequential(shared, norm(3)))
    assert not any(layer.folded for layer in network_convolutions(network, fold=True))


def test_folding_needs_a_network_that_runs() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("never")

    with pytest.raises(LensSkipped, match="runs at none of the input sizes"):
        network_convolutions(Broken(), fold=True)
