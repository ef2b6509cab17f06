"""Four small networks in the field's own shapes: 3x3 filters, and each its own way of downsampling.

All take square images of any size from about 16 pixels, end in a global average, and hold their normalisation
as BatchNorm: the input is pixels in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from filterlens.errors import InputError

__all__ = ["ARCHITECTURES", "build"]

_WIDTHS: Final = (16, 32, 48)


def build(architecture: str, *, in_channels: int = 1, classes: int = 10) -> nn.Module:
    """Make a freshly initialised network.

    Parameters
    ----------
    architecture
        A name in `ARCHITECTURES`.
    in_channels
        1 for FONTS, 3 for colour images.
    classes
        Logits.

    Raises
    ------
    InputError
        There is no such architecture.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(f"there is no architecture {architecture!r}: choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[architecture](in_channels, classes)


class PreActivationBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))) [He2016]_; a 1x1 convolution where the shape changes."""

    def __init__(self, c_in: int, c_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        changes = stride != 1 or c_in != c_out
        self.shortcut = nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (n, c_out, height / stride, width / stride)."""
        active = torch.relu(self.norm1(x))
        kept = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(torch.relu(self.norm2(self.conv1(active))))
        return out + kept


class BasicBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + x); a normalised 1x1 convolution where the shape changes."""

    def __init__(self, c_in: int, c_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        changes = stride != 1 or c_in != c_out
        self.shortcut = (
            nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False), nn.BatchNorm2d(c_out))
            if changes
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (n, c_out, height / stride, width / stride)."""
        out = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(out + self.shortcut(x))


def _stem(in_channels: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, c_out, 3, padding=1, bias=False)


def _normed(c_in: int, c_out: int, *, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(c_out), nn.ReLU()]


def _head(c_in: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, classes)]


def preact_resnet(in_channels: int, classes: int) -> nn.Module:
    """Pre-activation ResNet: strided 3x3 convolutions, unnormalised 1x1 shortcuts."""
    a, b, c = _WIDTHS
    return nn.Sequential(
        _stem(in_channels, a),
        PreActivationBlock(a, a),
        PreActivationBlock(a, b, stride=2),
        PreActivationBlock(b, c, stride=2),
        nn.BatchNorm2d(c),
        nn.ReLU(),
        *_head(c, classes),
    )


def resnet_strided(in_channels: int, classes: int) -> nn.Module:
    """Post-activation ResNet, all its downsampling in strided convolutions."""
    a, b, c = _WIDTHS
    return nn.Sequential(
        *_normed(in_channels, a),
        BasicBlock(a, a),
        BasicBlock(a, b, stride=2),
        BasicBlock(b, c, stride=2),
        *_head(c, classes),
    )


def vgg_maxpool(in_channels: int, classes: int) -> nn.Module:
    """VGG with BatchNorm: pairs of 3x3 convolutions, max pooling between."""
    a, b, c = _WIDTHS
    return nn.Sequential(
        *_normed(in_channels, a),
        *_normed(a, a),
        nn.MaxPool2d(2),
        *_normed(a, b),
        *_normed(b, b),
        nn.MaxPool2d(2),
        *_normed(b, c),
        *_normed(c, c),
        *_head(c, classes),
    )


def wide_resnet_avgpool(in_channels: int, classes: int) -> nn.Module:
    """Wide pre-activation ResNet: twice as wide as its stem from the first block, average pooling between stages."""
    a, b, c = _WIDTHS
    return nn.Sequential(
        _stem(in_channels, a // 2),
        PreActivationBlock(a // 2, a),
        nn.AvgPool2d(2),
        PreActivationBlock(a, b),
        nn.AvgPool2d(2),
        PreActivationBlock(b, c),
        nn.BatchNorm2d(c),
        nn.ReLU(),
        *_head(c, classes),
    )


ARCHITECTURES: Final[dict[str, Callable[[int, int], nn.Module]]] = {
    "preact_resnet": preact_resnet,
    "resnet_strided": resnet_strided,
    "vgg_maxpool": vgg_maxpool,
    "wide_resnet_avgpool": wide_resnet_avgpool,
}
