"""Small networks in the field's own shapes: 3x3 filters, and each its own way of downsampling.

All take square images of any size from about 16 pixels, end in a global average, and hold their normalisation
as BatchNorm: the input is pixels in [0, 1]. Three stages; the second has twice, the third three times the channels of
the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from filterlens.errors import InputError
from filterlens.loaders.alias_free import without_aliasing

__all__ = ["ACTIVATIONS", "ARCHITECTURES", "Shape", "build", "build_as_said"]

_SIZES: Final = {"in_channels": 1, "classes": 10, "width": 16, "blocks": 1}
ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {"relu": nn.ReLU, "silu": nn.SiLU}


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of a network.

    Parameters
    ----------
    in_channels, classes
        Channels of its images, and logits.
    width
        Channels of the first stage.
    blocks
        Residual blocks, or pairs of convolutions, a stage.
    activation
        A name in `ACTIVATIONS`.
    """

    in_channels: int = 1
    classes: int = 10
    width: int = 16
    blocks: int = 1
    activation: str = "relu"

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels of the three stages."""
        return self.width, 2 * self.width, 3 * self.width

    def activate(self) -> nn.Module:
        """Make an activation."""
        return ACTIVATIONS[self.activation]()


def build(
    architecture: str,
    *,
    in_channels: int = 1,
    classes: int = 10,
    width: int = 16,
    blocks: int = 1,
    activation: str = "relu",
) -> nn.Module:
    """Make a freshly initialised network.

    Parameters
    ----------
    architecture
        A name in `ARCHITECTURES`.
    in_channels
        1 for FONTS, 3 for colour images.
    classes
        Logits.
    width
        Channels of the first of three stages.
    blocks
        Residual blocks, or pairs of convolutions, a stage: `resnet_strided` has 6 `blocks` + 1 layers of 3x3 filters.
    activation
        relu or silu.

    Raises
    ------
    InputError
        There is no such architecture or activation, or a size is none.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(f"there is no architecture {architecture!r}: choose one of {', '.join(ARCHITECTURES)}")
    if activation not in ACTIVATIONS:
        raise InputError(f"there is no activation {activation!r}: choose one of {', '.join(ACTIVATIONS)}")
    if min(in_channels, classes, blocks) < 1 or width < 2:
        raise InputError(f"a network has at least one block a stage and two channels; got {blocks} and {width}")
    return ARCHITECTURES[architecture](Shape(in_channels, classes, width, blocks, activation))


def build_as_said(metadata: Mapping[str, str]) -> nn.Module:
    """Make the network that the metadata of a trained file describe; sizes that they lack are FONTS' ones.

    Parameters
    ----------
    metadata
        `architecture`, and perhaps the other parameters of `build`.

    Raises
    ------
    InputError
        They name no architecture, or a size is no number.
    """
    try:
        sizes = [int(metadata.get(name, default)) for name, default in _SIZES.items()]
    except ValueError as error:
        raise InputError(f"a size of a trained network is no number ({error})") from error
    in_channels, classes, width, blocks = sizes
    return build(
        metadata.get("architecture", ""),
        in_channels=in_channels,
        classes=classes,
        width=width,
        blocks=blocks,
        activation=metadata.get("activation", "relu"),
    )


class PreActivationBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))) [He2016]_; a 1x1 convolution where the shape changes."""

    def __init__(self, c_in: int, c_out: int, activation: nn.Module, *, stride: int = 1) -> None:
        super().__init__()
        self.activation = activation
        self.norm1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        changes = stride != 1 or c_in != c_out
        self.shortcut = nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (n, c_out, height / stride, width / stride)."""
        active = self.activation(self.norm1(x))
        kept = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(self.activation(self.norm2(self.conv1(active))))
        return out + kept


class BasicBlock(nn.Module):
    """act(norm(conv(act(norm(conv(x))))) + x); a normalised 1x1 convolution where the shape changes."""

    def __init__(self, c_in: int, c_out: int, activation: nn.Module, *, stride: int = 1) -> None:
        super().__init__()
        self.activation = activation
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
        out = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        active: Tensor = self.activation(out + self.shortcut(x))
        return active


def _stem(in_channels: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, c_out, 3, padding=1, bias=False)


def _normed(c_in: int, c_out: int, activation: nn.Module) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), activation]


def _stage(
    block: type[PreActivationBlock | BasicBlock], c_in: int, c_out: int, shape: Shape, *, stride: int = 1
) -> list[nn.Module]:
    """Blocks of one stage, the first of which downsamples."""
    first = block(c_in, c_out, shape.activate(), stride=stride)
    return [first, *(block(c_out, c_out, shape.activate()) for _ in range(shape.blocks - 1))]


def _pair(c_in: int, c_out: int, shape: Shape) -> list[nn.Module]:
    """Pairs of 3x3 convolutions."""
    layers: list[nn.Module] = []
    for place in range(2 * shape.blocks):
        layers += _normed(c_out if place else c_in, c_out, shape.activate())
    return layers


def _head(c_in: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, classes)]


def preact_resnet(shape: Shape) -> nn.Module:
    """Pre-activation ResNet: strided 3x3 convolutions, unnormalised 1x1 shortcuts."""
    a, b, c = shape.widths
    return nn.Sequential(
        _stem(shape.in_channels, a),
        *_stage(PreActivationBlock, a, a, shape),
        *_stage(PreActivationBlock, a, b, shape, stride=2),
        *_stage(PreActivationBlock, b, c, shape, stride=2),
        nn.BatchNorm2d(c),
        shape.activate(),
        *_head(c, shape.classes),
    )


def resnet_strided(shape: Shape) -> nn.Module:
    """Post-activation ResNet, all its downsampling in strided convolutions."""
    a, b, c = shape.widths
    return nn.Sequential(
        *_normed(shape.in_channels, a, shape.activate()),
        *_stage(BasicBlock, a, a, shape),
        *_stage(BasicBlock, a, b, shape, stride=2),
        *_stage(BasicBlock, b, c, shape, stride=2),
        *_head(c, shape.classes),
    )


def resnet_alias_free(shape: Shape) -> nn.Module:
    """`resnet_strided` whose strides are low-pass filtered by FrequencyLowCut pooling [Grabinski2022FLC]_."""
    return without_aliasing(resnet_strided(shape), pooling="flc")[0]


def vgg_maxpool(shape: Shape) -> nn.Module:
    """VGG with BatchNorm: pairs of 3x3 convolutions, max pooling between."""
    a, b, c = shape.widths
    return nn.Sequential(
        *_pair(shape.in_channels, a, shape),
        nn.MaxPool2d(2),
        *_pair(a, b, shape),
        nn.MaxPool2d(2),
        *_pair(b, c, shape),
        *_head(c, shape.classes),
    )


def wide_resnet_avgpool(shape: Shape) -> nn.Module:
    """Wide pre-activation ResNet: twice as wide as its stem from the first block, average pooling between stages."""
    a, b, c = shape.widths
    return nn.Sequential(
        _stem(shape.in_channels, a // 2),
        *_stage(PreActivationBlock, a // 2, a, shape),
        nn.AvgPool2d(2),
        *_stage(PreActivationBlock, a, b, shape),
        nn.AvgPool2d(2),
        *_stage(PreActivationBlock, b, c, shape),
        nn.BatchNorm2d(c),
        shape.activate(),
        *_head(c, shape.classes),
    )


ARCHITECTURES: Final[dict[str, Callable[[Shape], nn.Module]]] = {
    "preact_resnet": preact_resnet,
    "resnet_strided": resnet_strided,
    "vgg_maxpool": vgg_maxpool,
    "wide_resnet_avgpool": wide_resnet_avgpool,
    "resnet_alias_free": resnet_alias_free,
}
