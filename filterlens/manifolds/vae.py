"""Networks of a class-conditional VAE-GAN, small, for images of any size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Decoder", "Discriminator", "Encoder", "Shape"]

_GROUPS = 8
_MOST = {
    "channels": 16,
    "height": 4096,
    "width": 4096,
    "classes": 100_000,
    "latent": 10_000,
    "width_factor": 4096,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What the three networks agree on.

    Parameters
    ----------
    channels, height, width
        Shape of an image; the sides at least 8.
    classes
        How many classes the manifold is conditioned on.
    latent
        Its dimensions (10 in Stutz2019).
    width_factor
        Feature maps of the finest stage, a multiple of 8.

    Raises
    ------
    ValueError
        One of them is no whole number, or beyond what any data need.
    """

    channels: int
    height: int
    width: int
    classes: int
    latent: int = 10
    width_factor: int = 32

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{name} is {value!r:.40}; expected a whole number from 1 to {most}")
        if self.width_factor % _GROUPS:
            raise ValueError(f"width_factor is {self.width_factor}; expected a multiple of {_GROUPS}")

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Heights and widths of the three stages, finest first."""
        return tuple((-(-self.height // f), -(-self.width // f)) for f in (2, 4, 8))


def _condition(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Add the class to images as one-hot planes."""
    planes = functional.one_hot(labels, classes).to(images.dtype)[:, :, None, None]
    return torch.cat([images, planes.expand(-1, -1, *images.shape[2:])], dim=1)


def _stages(shape: Shape) -> nn.Sequential:
    """Three strided convolutions, from conditioned images to features of shape (n, 4 · width · sides / 8)."""
    w = shape.width_factor
    layers: list[nn.Module] = []
    for c_in, c_out in ((shape.channels + shape.classes, w), (w, 2 * w), (2 * w, 4 * w)):
        layers += [
            nn.Conv2d(c_in, c_out, 3, stride=2, padding=1),
            nn.GroupNorm(_GROUPS, c_out),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Flatten())


def _features(shape: Shape) -> int:
    height, width = shape.sizes[-1]
    return 4 * shape.width_factor * height * width


class Encoder(nn.Module):
    """Images and classes to the mean and log-variance of their latents, shape (n, latent) each."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.stages = _stages(shape)
        self.head = nn.Linear(_features(shape), 2 * shape.latent)

    def moments(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents."""
        mean, log_variance = self.head(self.stages(_condition(images, labels, self.shape.classes))).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean of the latents."""
        return self.moments(images, labels)[0]


class Decoder(nn.Module):
    """Latents and classes to images in [0, 1]: upsampling and convolution, three times."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        w = shape.width_factor
        self.head = nn.Linear(shape.latent + shape.classes, _features(shape))
        pairs = ((4 * w, 2 * w), (2 * w, w), (w, w))
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(_GROUPS, c_out), nn.LeakyReLU(0.2))
            for c_in, c_out in pairs
        )
        self.last = nn.Conv2d(w, shape.channels, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images, shape (n, channels, height, width)."""
        classes = functional.one_hot(labels, self.shape.classes).to(latents.dtype)
        maps = self.head(torch.cat([latents, classes], dim=1)).unflatten(1, (-1, *self.shape.sizes[-1]))
        sizes = (*reversed(self.shape.sizes[:-1]), (self.shape.height, self.shape.width))
        for stage, size in zip(self.stages, sizes, strict=True):
            maps = stage(functional.interpolate(maps, size=size, mode="nearest"))
        return torch.sigmoid(self.last(maps))


class Discriminator(nn.Module):
    """Images and classes to the logit of being a real one, shape (n,)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.stages = _stages(shape)
        self.head = nn.Linear(_features(shape), 1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Logit that an image is a training image and no decoded one."""
        logit: Tensor = self.head(self.stages(_condition(images, labels, self.shape.classes)))[:, 0]
        return logit
