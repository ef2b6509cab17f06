"""The architectures are what they say: small, 3x3, and each with its own downsampling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from filterlens.errors import InputError
from filterlens.loaders.alias_free import AliasFreeDownsampling
from filterlens.loaders.architectures import ARCHITECTURES, build, build_as_said

DOWNSAMPLING = {
    "preact_resnet": (nn.Conv2d, 4),  # two blocks, main path and shortcut
    "resnet_strided": (nn.Conv2d, 4),
    "vgg_maxpool": (nn.MaxPool2d, 2),
    "wide_resnet_avgpool": (nn.AvgPool2d, 2),
    "resnet_alias_free": (AliasFreeDownsampling, 4),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32)])
def test_images_of_both_sizes_become_logits_and_every_weight_gets_a_gradient(
    architecture: str, channels: int, side: int
) -> None:
    model = build(architecture, in_channels=channels, classes=7)
    logits = model(torch.rand(4, channels, side, side))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_is_small_and_made_of_3x3_filters(architecture: str) -> None:
    model = build(architecture)
    assert sum(p.numel() for p in model.parameters()) <= 120_000
    kernels = [m.kernel_size for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert set(kernels) <= {(3, 3), (1, 1)}
    assert kernels.count((3, 3)) >= 6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_downsamples_in_its_own_way_only(architecture: str) -> None:
    kind, count = DOWNSAMPLING[architecture]
    strided = [
        m
        for m in build(architecture).modules()
        if isinstance(m, nn.MaxPool2d | nn.AvgPool2d | AliasFreeDownsampling)
        or (isinstance(m, nn.Conv2d) and m.stride != (1, 1))
    ]
    assert [type(m) for m in strided] == [kind] * count


def test_a_pre_activation_block_without_residual_branch_is_the_identity() -> None:
    block = build("preact_resnet").get_submodule("1")
    nn.init.zeros_(block.get_parameter("conv2.weight"))
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(block(x), x)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="no architecture 'resnet50': choose one of preact_resnet"):
        build("resnet50")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_width_and_blocks_make_a_network_wider_and_deeper(architecture: str) -> None:
    small, wide, deep = (build(architecture, width=w, blocks=b) for w, b in ((16, 1), (32, 1), (16, 3)))
    sizes = [sum(p.numel() for p in model.parameters()) for model in (small, wide, deep)]
    assert 3.5 < sizes[1] / sizes[0] < 4
    layers = [
        sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in model.modules()) for model in (small, deep)
    ]
    assert layers[1] == layers[0] + 12
    assert deep(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_activation_replaces_every_other(architecture: str) -> None:
    model = build(architecture, activation="silu")
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    assert any(isinstance(m, nn.SiLU) for m in model.modules())
    assert model.state_dict().keys() == build(architecture).state_dict().keys()


def test_a_network_is_built_as_its_file_says() -> None:
    model = build_as_said({"architecture": "vgg_maxpool", "in_channels": "3", "width": "8", "activation": "silu"})
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    with pytest.raises(InputError, match="a size of a trained network is no number"):
        build_as_said({"architecture": "vgg_maxpool", "width": "wide"})


@pytest.mark.parametrize(
    ("settings", "message"), [({"activation": "gelu"}, "no activation 'gelu'"), ({"blocks": 0}, "at least one block")]
)
def test_shapes_that_are_none_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("vgg_maxpool", **settings)
