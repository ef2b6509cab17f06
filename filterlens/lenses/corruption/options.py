"""What a user may turn of the corruption lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from filterlens.lens import Options, option

__all__ = ["CorruptionOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionOptions(Options):
    """Which images, and whether they are corrupted here.

    Parameters
    ----------
    images
        How many images, each under every corruption and severity.
    corrupted
        Folder of CIFAR-10-C, CIFAR-100-C or ImageNet-C as they are published; empty: the run's images are corrupted.
    """

    images: int = option(default=1000, help="Images a lens looks at.", at_least=1)
    corrupted: str = option(
        default="",
        help="Folder of CIFAR-10-C, CIFAR-100-C or ImageNet-C as published; without it the run's images are corrupted.",
        names_folder=True,
    )

    @classmethod
    def fast(cls) -> Self:
        """64 images."""
        return cls(preset="fast", images=64)
