"""What a user may turn of the manifold lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from filterlens.lens import Options, option

__all__ = ["ManifoldOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifoldOptions(Options):
    """Which manifold, and how images are attacked; defaults as in the paper.

    Parameters
    ----------
    images
        How many images are attacked.
    manifold
        `fonts`, `neighbours`, a learned decoder's file or `module:…`; empty chooses by data.
    same_class
        Look for an image's neighbours in its own class only; the paper looks in all classes.
    eta
        Radius of the on-manifold attack, in latent units, L∞.
    steps, step, restarts
        Of both attacks: Adam, early stop at the first success.
    projection_starts, projection_iterations
        Of the search for the nearest point of a manifold that has a decoder.
    """

    images: int = option(default=200, help="Images a lens looks at.", at_least=1)
    manifold: str = option(
        default="",
        help="`fonts`, `neighbours`, the file of a learned decoder, or `module:` with PACKAGE and FACTORY.",
        names_file=True,
    )
    same_class: bool = option(
        default=False, help="Neighbours of an image's own class only, instead of all classes as published."
    )
    eta: float = option(default=0.3, help="Radius of the on-manifold attack, in units of a latent, L∞.", at_least=0)
    steps: int = 40
    step: float = 0.005
    restarts: int = 5
    projection_starts: int = 3
    projection_iterations: int = 80

    @classmethod
    def fast(cls) -> Self:
        """24 images, 10 longer steps, one restart, shorter projections."""
        return cls(
            preset="fast", images=24, steps=10, step=0.02, restarts=1, projection_starts=1, projection_iterations=30
        )
