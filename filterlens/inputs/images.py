"""Images with labels, as every lens takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["BUNDLED_CIFAR10", "Images"]

#: Name of the test images that come with the package, in every output: they are not the test set of the literature.
BUNDLED_CIFAR10: Final = "cifar10-bundled-512"


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """A labelled set of images.

    Parameters
    ----------
    name
        Name of the data set, for tables.
    pixels
        float32 in [0, 1], shape (n, channels, height, width).
    labels
        int64 class indices, shape (n,).
    latents
        Position on the known manifold (FONTS: six affine parameters), shape (n, 6), or None.
    conditions
        What the manifold is conditioned on (FONTS: font and letter), int64, shape (n, 2), or None.
    """

    name: str
    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    latents: NDArray[np.float32] | None = None
    conditions: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int) -> Self:
        """Return the first n images (all where there are fewer)."""
        return replace(
            self,
            pixels=self.pixels[:n],
            labels=self.labels[:n],
            latents=None if self.latents is None else self.latents[:n],
            conditions=None if self.conditions is None else self.conditions[:n],
        )

    @property
    def digest(self) -> str:
        """SHA-256 of pixels and labels: which images a number was measured on."""
        hasher = sha256(self.pixels.tobytes())
        hasher.update(self.labels.tobytes())
        return hasher.hexdigest()
