"""What a manifold of images can do, and the clean images that it is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from filterlens.inputs.images import Images

__all__ = ["Capability", "Manifold", "Points", "distance"]

Capability = Literal["encode", "decode", "project"]


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Clean images, with what is known of their place on a manifold.

    Parameters
    ----------
    pixels
        float32 in [0, 1], shape (n, channels, height, width).
    labels
        Class indices, shape (n,).
    latents, conditions
        As in `Images`; None where the true place is not known.
    """

    pixels: Tensor
    labels: Tensor
    latents: Tensor | None = None
    conditions: Tensor | None = None

    @classmethod
    def of(cls, images: Images, device: torch.device | str = "cpu") -> Self:
        """Take images to a device."""
        return cls(
            torch.from_numpy(images.pixels).to(device),
            torch.from_numpy(images.labels).to(device),
            None if images.latents is None else torch.from_numpy(images.latents).to(device),
            None if images.conditions is None else torch.from_numpy(images.conditions).to(device),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor | slice) -> Self:
        """Return the given rows."""
        return type(self)(
            self.pixels[rows],
            self.labels[rows],
            None if self.latents is None else self.latents[rows],
            None if self.conditions is None else self.conditions[rows],
        )


class Manifold(Protocol):
    """A set of images, known exactly, learned, or only near given images.

    Every method treats images one by one: row i of the result belongs to row i of `points`, whatever else is in
    the batch.
    """

    @property
    def name(self) -> str:
        """Its name in tables: `fonts`, `neighbours`, `learned` or a module's."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do; a method that is not among them raises `InputError`."""

    @property
    def latent_bounds(self) -> tuple[Tensor, Tensor] | None:
        """Lowest and highest valid latents, shape (d,) each; None without a decoder."""

    def encode(self, points: Points) -> Tensor:
        """Latents of clean images, shape (n, d)."""

    def decode(self, latents: Tensor, points: Points) -> Tensor:
        """Images of latents, in the class (and font) of `points`; differentiable, in [0, 1]."""

    def project(self, images: Tensor, points: Points, latents: Tensor | None = None) -> Tensor:
        """Nearest images of the manifold to `images`, which were made from `points`.

        `latents`, shape (n, d), is one more place to look from: where an image is known to have been decoded from.
        """

    def tangent(self, points: Points) -> Tensor:
        """Orthonormal basis of the tangent space at clean images, float64, shape (n, k, D), zero beyond its rank."""

    def held_out_distance(self, images: Tensor, points: Points) -> Tensor:
        """Distance of images, clean or moved, to a manifold that does not know their clean ones, shape (n,)."""

    def class_of(self, images: Tensor, points: Points, latents: Tensor) -> Tensor:
        """Class whose part of the manifold lies nearest to images decoded from latents, shape (n,)."""


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance of each image pair, float64, shape (n,)."""
    length: Tensor = torch.linalg.vector_norm((a.double() - b.double()).flatten(1), dim=1)
    return length
