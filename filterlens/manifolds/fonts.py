"""The true manifold of FONTS: every valid affine transformation of one letter in one font."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from filterlens.errors import InputError
from filterlens.inputs.fonts import LOWER, UPPER, decode, load_prototypes
from filterlens.manifolds.optimise import Decode, nearest_latents, tangent_by_differences
from filterlens.manifolds.protocol import Capability, Points, distance

__all__ = ["Fonts"]

_UNKNOWN = "the fonts manifold needs FONTS images with their latents and conditions; use --data fonts"
_BLIND = 4  # starts where nothing is known
_COARSE = 128  # latents among which the further starts of a projection are chosen


class Fonts:
    """Letters under valid affine transformations, font and letter fixed by the clean image.

    Parameters
    ----------
    device
        Where the images are.
    fonts
        A folder of `.ttf` files instead of the shipped faces.
    starts
        From how many places beside the known ones a projection starts: the best of 128 fixed random ones.
    iterations
        Iterations of a projection.

    References
    ----------
    [Stutz2019]_, section 3.1.
    """

    name = "fonts"
    capabilities: frozenset[Capability] = frozenset({"encode", "decode", "project"})

    def __init__(
        self, *, device: torch.device | str = "cpu", fonts: Path | None = None, starts: int = 3, iterations: int = 80
    ) -> None:
        self._prototypes = torch.from_numpy(load_prototypes(fonts).copy()).to(device)
        self._starts = starts
        self._iterations = iterations
        self._low, self._high = torch.tensor(LOWER, device=device), torch.tensor(UPPER, device=device)

    @property
    def latent_bounds(self) -> tuple[Tensor, Tensor]:
        """The valid affine parameters."""
        return self._low, self._high

    def encode(self, points: Points) -> Tensor:
        """Return the known affine parameters.

        Raises
        ------
        InputError
            They are not known: the images are no FONTS images.
        """
        if points.latents is None:
            raise InputError(_UNKNOWN)
        return points.latents

    def decode(self, latents: Tensor, points: Points) -> Tensor:
        """Draw each point's letter in its font; the class cannot change."""
        return self._draw(latents, *self._conditions(points))

    def project(self, images: Tensor, points: Points, latents: Tensor | None = None) -> Tensor:
        """Nearest image of the same letter and font; starts from the true parameters too. See `Manifold.project`."""
        known = [self.encode(points)] + ([] if latents is None else [latents])
        return self._project(images, points, known)

    def tangent(self, points: Points) -> Tensor:
        """Six directions in which the letter moves; see `Manifold.tangent`."""
        return tangent_by_differences(self._decoder(points), self.encode(points), self.latent_bounds)

    def held_out_distance(self, images: Tensor, points: Points) -> Tensor:
        """Distance found without the true parameters, shape (n,): for clean images the projection's own error."""
        return distance(images, self._project(images, points, []))

    def class_of(self, images: Tensor, points: Points, latents: Tensor) -> Tensor:
        """Letter of the same font that lies nearest at the images' own parameters, shape (n,)."""
        font, _ = self._conditions(points)
        letters = torch.arange(self._prototypes.shape[1], device=font.device)
        with torch.no_grad():
            drawn = [self._draw(latents, font, letter.expand(len(font))) for letter in letters]
        return torch.stack([distance(images, image) for image in drawn], dim=1).argmin(dim=1)

    def _project(self, images: Tensor, points: Points, known: list[Tensor]) -> Tensor:
        decoder = self._decoder(points)
        coarse = self._coarse_starts(images, points, self._starts if known else max(self._starts, _BLIND))
        starts = torch.cat([torch.stack(known), coarse]) if known else coarse
        found = nearest_latents(decoder, images, starts, self.latent_bounds, iterations=self._iterations)
        with torch.no_grad():
            return self.decode(found, points)

    def _coarse_starts(self, images: Tensor, points: Points, starts: int) -> Tensor:
        """Best of a fixed random set of latents for each image, shape (starts, n, 6)."""
        share = torch.rand(_COARSE, 6, generator=torch.Generator().manual_seed(0)).to(images.device)
        latents = self._low + share * (self._high - self._low)
        with torch.no_grad():
            errors = torch.stack([distance(images, self.decode(z.expand(len(images), -1), points)) for z in latents])
        return latents[errors.topk(starts, dim=0, largest=False).indices]

    def _decoder(self, points: Points) -> Decode:
        return lambda latents, rows: self.decode(latents, points.take(rows))

    def _draw(self, latents: Tensor, font: Tensor, letter: Tensor) -> Tensor:
        # interpolation rounds to a hair above 1, and images end there
        return decode(latents, font, letter, prototypes=self._prototypes).clamp(0, 1)

    @staticmethod
    def _conditions(points: Points) -> tuple[Tensor, Tensor]:
        if points.conditions is None:
            raise InputError(_UNKNOWN)
        return points.conditions[:, 0], points.conditions[:, 1]
