"""Capture over networks of many families, random weights; dense and subsampled are compared on every call."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from filterlens.tracing.capture import Downsampling, capture_downsampling

RESNET = ["main", "pool", "main", "shortcut", "main", "shortcut", "main", "shortcut"]
PATCH = ["main"] * 4

FAMILIES = {
    "resnet18": (64, RESNET, ["conv1", "maxpool", "layer2.0.conv1", "layer2.0.downsample.0"]),
    "convnext_atto": (64, PATCH, ["stem.0", "stages.1.downsample.1"]),
}
SLOW = {
    "resnet50d": (96, ["main", "pool", "main", "pool", "main", "pool", "main", "pool"], ["conv1.0", "maxpool"]),
    "efficientnet_b0": (96, ["main"] * 5, ["conv_stem", "blocks.1.0.conv_dw"]),
    "tf_efficientnet_b0": (95, ["main"] * 5, ["conv_stem", "blocks.1.0.conv_dw"]),  # pads unevenly before
    "mobilenetv3_small_050": (96, ["main"] * 5, ["conv_stem", "blocks.0.0.conv_dw"]),
    "regnetx_002": (96, ["main"] + ["main", "shortcut"] * 4, ["stem.conv", "s1.b1.conv2.conv"]),
    "resnetblur50": (96, ["main", "pool"] + ["pool", "shortcut"] * 3, ["conv1", "maxpool.1", "layer2.0.aa"]),
    "densenet121": (96, ["main", "pool", "pool", "pool", "pool"], ["features.conv0", "features.pool0"]),
    "poolformer_s12": (96, PATCH, ["stem.conv"]),  # 7x7 with stride 4
    "swin_tiny_patch4_window7_224": (224, ["main"], ["patch_embed.proj"]),  # merging slices: no dense map
    "vit_tiny_patch16_224": (224, ["main"], ["patch_embed.proj"]),
}


def capture(network: nn.Module, size: int) -> list[Downsampling]:
    found: list[Downsampling] = []
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), capture_downsampling(network.eval(), found.append, choose=lambda _, n: range(min(n, 8))):
        network(images)
    return found


def check(name: str, size: int, kinds: list[str], first: list[str]) -> None:
    torch.manual_seed(0)
    found = capture(timm.create_model(name, pretrained=False, num_classes=5), size)
    assert [d.kind for d in found] == kinds
    assert [d.layer for d in found][: len(first)] == first
    assert all(d.dense.isfinite().all() for d in found)


@pytest.mark.parametrize("name", FAMILIES)
def test_small_families_show_the_operations_they_have(name: str) -> None:
    check(name, *FAMILIES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_families_show_the_operations_they_have(name: str) -> None:
    check(name, *SLOW[name])


@pytest.mark.slow
def test_a_torchvision_network_shows_its_operations() -> None:
    import torchvision

    torch.manual_seed(0)
    assert [d.kind for d in capture(torchvision.models.resnet18(), 96)] == RESNET
    pools = capture(torchvision.models.vgg11(), 224)  # adaptive pooling to 7x7 changes nothing at this size
    assert [d.operation for d in pools] == ["max_pool2d"] * 5


WIDE = ["main", "shortcut"] * 2
PRE_ACTIVATION = ["shortcut", "main"] * 3
BASIC = ["main", "shortcut"] * 3
BOTTLENECK = ["main", "pool"] + ["main", "shortcut"] * 3

ROBUSTBENCH = {
    ("cifar10", "Linf", "Carmon2019Unlabeled"): WIDE,
    ("cifar10", "Linf", "Gowal2020Uncovering_28_10_extra"): WIDE,  # pads unevenly before a valid convolution
    ("cifar10", "Linf", "Huang2021Exploring"): WIDE,
    ("cifar10", "Linf", "Dai2021Parameterizing"): WIDE,
    ("cifar10", "Linf", "Huang2022Revisiting_WRN-A4"): ["shortcut", "main"] * 2,
    ("cifar10", "Linf", "Wong2020Fast"): PRE_ACTIVATION,
    ("cifar10", "Linf", "Rebuffi2021Fixing_R18_ddpm"): ["main"] * 6,  # its shortcuts are 3x3
    ("cifar10", "Linf", "Engstrom2019Robustness"): BASIC,
    ("cifar10", "Linf", "Sehwag2021Proxy_R18"): BASIC,
    ("cifar10", "corruptions", "Diffenderfer2021Winning_LRR"): BASIC,
    ("cifar10", "corruptions", "Hendrycks2020AugMix_ResNeXt"): WIDE,
    ("cifar100", "Linf", "Addepalli2022Efficient_RN18"): BASIC,
    ("imagenet", "Linf", "Wong2020Fast"): BOTTLENECK,
    ("imagenet", "Linf", "Salman2020Do_R18"): BOTTLENECK,
    ("imagenet", "Linf", "Chen2024Data_WRN_50_2"): BOTTLENECK,
    ("imagenet", "Linf", "Singh2023Revisiting_ViT-S-ConvStem"): PATCH,
    ("imagenet", "Linf", "Singh2023Revisiting_ConvNeXt-T-ConvStem"): ["main"] * 5,
}


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "threat", "name"), ROBUSTBENCH)
def test_robustbench_architectures_show_the_operations_they_have(dataset: str, threat: str, name: str) -> None:
    from filterlens.loaders.robustbench import zoo

    torch.manual_seed(0)
    network = zoo()[dataset, threat][name]["model"]()
    found = capture(network, 224 if dataset == "imagenet" else 32)
    assert [d.kind for d in found] == ROBUSTBENCH[dataset, threat, name]
