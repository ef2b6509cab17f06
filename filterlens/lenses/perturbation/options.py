"""What a user may turn of the perturbation lens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from filterlens.errors import InputError
from filterlens.lens import Options, option

__all__ = ["PerturbationOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbationOptions(Options):
    """How many images, and how strong the noise is.

    Parameters
    ----------
    images
        How many images are attacked, and seen under noise.
    noise_rms
        Root mean square of band-limited noise, in units of the pixels' range; half and twice as strong noise is
        measured too.

    Raises
    ------
    InputError
        The noise is not positive, or not finite.
    """

    images: int = option(default=1000, help="Images a lens looks at.", at_least=1)
    noise_rms: float = option(default=0.1, help="Root mean square of band-limited noise, pixels in [0, 1].")

    def __post_init__(self) -> None:
        """Refuse noise that is none."""
        Options.__post_init__(self)
        if not 0 < self.noise_rms < math.inf:
            raise InputError(f"noise_rms: expected a positive number, got {self.noise_rms}")

    @classmethod
    def fast(cls) -> Self:
        """64 images."""
        return cls(preset="fast", images=64)
