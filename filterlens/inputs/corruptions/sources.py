"""Corrupted images, a batch at a time: made from a run's images, or read from the published folders."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.corruptions.distortions import corrupt
from filterlens.inputs.corruptions.folders import CifarC, ImageNetC
from filterlens.inputs.corruptions.severities import CORRUPTIONS, MADE, SEVERITIES, parameters_for
from filterlens.inputs.images import Images

__all__ = ["Corrupted", "MadeHere", "corrupted_images"]

_KEPT_BYTES = 256 << 20  # of all corrupted images that are kept for the next model


class Corrupted(Protocol):
    """Images under every corruption and severity."""

    @property
    def said(self) -> str:
        """Where they come from, for notes."""
        ...

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names of the corruptions."""
        ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes, shape (n,)."""
        ...

    def read(self, corruption: str, severity: int, rows: slice) -> NDArray[np.uint8]:
        """Images of those rows, shape (b, height, width, channels)."""
        ...


class MadeHere:
    """Images of a run, corrupted here; the same numbers for one seed, whatever the batch size.

    Parameters
    ----------
    images
        Rounded to 256 grey levels first.
    seed
        Random seed.
    """

    corruptions = MADE

    def __init__(self, images: Images, seed: int) -> None:
        self._images, self._seed = images, seed
        self.labels = images.labels
        benchmark, _ = parameters_for(*images.pixels.shape[2:])
        left_out = ", ".join(sorted(set(CORRUPTIONS) - set(MADE)))
        self.said = f"corrupted here with {benchmark}'s parameters, without {left_out}"

    def read(self, corruption: str, severity: int, rows: slice) -> NDArray[np.uint8]:
        """Images of those rows, shape (b, height, width, channels)."""
        if self._images.pixels.size * len(MADE) * SEVERITIES <= _KEPT_BYTES:
            return _kept(self._images, self._seed, corruption, severity)[rows]
        return _make(self._images, self._seed, corruption, severity, rows)


def _make(images: Images, seed: int, corruption: str, severity: int, rows: slice) -> NDArray[np.uint8]:
    levels = np.rint(images.pixels[rows] * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    which = MADE.index(corruption)
    return np.stack(
        [
            corrupt(image, corruption, severity, _state(seed, place, which, severity), saved=True)
            for place, image in enumerate(levels, start=rows.start)
        ]
    )


@lru_cache(maxsize=len(MADE) * SEVERITIES)
def _kept(images: Images, seed: int, corruption: str, severity: int) -> NDArray[np.uint8]:
    return _make(images, seed, corruption, severity, slice(0, len(images)))


def _state(*numbers: int) -> np.random.RandomState:
    """Random numbers of one image under one corruption: the generator of the published code."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(numbers)))


def corrupted_images(images: Images, folder: str, *, seed: int) -> Corrupted:
    """Corrupt images, or take as many from a published folder.

    Parameters
    ----------
    images
        The run's.
    folder
        Of CIFAR-10-C, CIFAR-100-C or ImageNet-C; empty: none.
    seed
        Random seed of corruptions, or of the choice among ImageNet-C's images.

    Raises
    ------
    InputError
        The folder is none of these, is damaged, or holds images of another size than the run's.
    """
    if not folder:
        return MadeHere(images, seed)
    path = Path(folder)
    try:
        found: Corrupted
        if (path / "labels.npy").is_file():
            found = CifarC(path, len(images))
        elif (path / CORRUPTIONS[0] / "1").is_dir():
            found = ImageNetC(path, len(images), seed=seed)
        else:
            raise InputError(
                f"--corrupted {folder} is neither CIFAR-10-C nor ImageNet-C: it holds no labels.npy and no folder "
                f"{CORRUPTIONS[0]}/1; unpack the published archive and give the folder that holds the corruptions"
            )
        height, width, channels = found.read(found.corruptions[0], 1, slice(0, 1)).shape[1:]
    except (OSError, ValueError) as error:
        raise InputError(f"--corrupted {folder} cannot be read ({error})") from error
    if (channels, height, width) != images.pixels.shape[1:]:
        wanted = "x".join(map(str, images.pixels.shape[1:]))
        raise InputError(
            f"--corrupted {folder} holds images of {channels}x{height}x{width}, the run's images are {wanted}: give "
            "the corrupted version of the run's own data set"
        )
    return found
