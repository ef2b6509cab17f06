"""Data sets in the files in which they are published, but for CIFAR and ImageNet: told by the names of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from filterlens.errors import InputError
from filterlens.inputs.images import Images
from filterlens.inputs.reading import is_there

__all__ = ["PublishedSet", "find_published"]

_ATTRIBUTE: Final = "?attribute="


class PublishedSet(Protocol):
    """A data set that was found."""

    @property
    def has_splits(self) -> bool:
        """Whether there are images to learn from and others to test on."""

    def digest(self) -> str:
        """Digest everything that its images can be made of."""

    def load(self, n: int, *, split: str = "test") -> Images:
        """Read the first n images of a split."""


def find_published(data: str) -> PublishedSet | None:
    """Find MNIST's IDX files or CelebA at a path; None where it holds neither.

    Parameters
    ----------
    data
        A folder, or one of several sets' file of images; after a folder of CelebA perhaps `?attribute=NAME`.

    Raises
    ------
    InputError
        A folder holds several sets, or an attribute is asked of anything but CelebA.
    """
    from filterlens.inputs.celeba import ATTRIBUTE, find_celeba
    from filterlens.inputs.idx import find_idx

    place, marked, attribute = data.partition(_ATTRIBUTE)
    path = Path(place)
    if not place or not is_there(path):
        return None
    celeba = find_celeba(path, attribute or ATTRIBUTE) if path.is_dir() else None
    if marked and celeba is None:
        raise InputError(f"--data {data}: {path} is no folder of CelebA, which alone has attributes")
    return celeba or find_idx(path)
