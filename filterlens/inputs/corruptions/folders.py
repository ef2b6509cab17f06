"""CIFAR-10-C, CIFAR-100-C and ImageNet-C in their published layout, read a batch at a time; nothing is unpickled."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.corruptions.severities import CORRUPTIONS, SEVERITIES
from filterlens.inputs.folder import read_images
from filterlens.inputs.imagenet import choose_imagenet
from filterlens.inputs.reading import open_regular

__all__ = ["CifarC", "ImageNetC"]

_MAX_HEADER: Final = 1 << 12
_MAX_ROWS: Final = 1 << 20


class CifarC:
    """CIFAR-10-C or CIFAR-100-C: an array of uint8 images a corruption, its fifths the severities, and one of labels.

    Parameters
    ----------
    folder
        Holds `gaussian_noise.npy`, …, shape (5 m, 32, 32, 3), and `labels.npy`, shape (5 m,); published: m = 10,000.
    n
        How many images of each severity at most: the first.

    Raises
    ------
    InputError
        A file is missing, damaged, pickled, or of another type or shape; or severities have unlike labels.
    """

    corruptions = CORRUPTIONS

    def __init__(self, folder: Path, n: int) -> None:
        self._folder = folder
        self.said = f"{folder.name} as published"
        labels = _Array.open(folder / "labels.npy")
        if len(labels.shape) != 1 or labels.dtype.kind not in "iu":
            raise InputError(f"{labels.path} holds {labels.said}; expected integers of shape (5 m,)")
        every = labels.rows(slice(0, labels.shape[0])).astype(np.int64).reshape(SEVERITIES, -1)
        if (every != every[0]).any() or every.min() < 0:
            raise InputError(f"{labels.path}: the labels of its five severities differ, or one is negative")
        self._m = every.shape[1]
        self.labels: NDArray[np.int64] = every[0, :n]
        for name in CORRUPTIONS:
            _ = self._images(name)

    def read(self, corruption: str, severity: int, rows: slice) -> NDArray[np.uint8]:
        """Images of those rows, shape (b, 32, 32, 3)."""
        first = (severity - 1) * self._m
        return self._images(corruption).rows(slice(first + rows.start, first + rows.stop)).astype(np.uint8, copy=False)

    def _images(self, corruption: str) -> _Array:
        found = _Array.open(self._folder / f"{corruption}.npy")
        if found.dtype != np.uint8 or len(found.shape) != 4 or found.shape[0] != SEVERITIES * self._m:
            raise InputError(
                f"{found.path} holds {found.said}; expected uint8 of shape ({SEVERITIES * self._m}, 32, 32, 3), as "
                "labels.npy says"
            )
        return found


@dataclass(frozen=True, slots=True)
class _Array:
    """A `.npy` file's header, whose rows are read as they are needed."""

    path: Path
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    start: int

    @classmethod
    def open(cls, path: Path) -> _Array:
        """Read and check a header; the file must have exactly the bytes that it declares."""
        if not path.is_file():
            raise InputError(
                f"{path} is missing: the folder is to hold labels.npy and one .npy for each of 15 corruptions"
            )
        try:
            with open_regular(path) as file:
                shape, fortran, dtype = _header(file)
                start, size = file.tell(), os.fstat(file.fileno()).st_size
        except Exception as error:  # numpy evaluates a header's literal, and raises anything on a damaged one
            raise InputError(f"{path} cannot be read as .npy ({str(error)[:200]})") from error
        found = cls(path, dtype, shape, start)
        if fortran or dtype.hasobject or not shape or not 0 < shape[0] <= _MAX_ROWS or shape[0] % SEVERITIES:
            raise InputError(
                f"{path} holds {found.said}; expected numbers in C order, five severities of up to 200,000 rows"
            )
        if size != start + math.prod(shape) * dtype.itemsize:
            raise InputError(
                f"{path} has {size} bytes, which do not go with {found.said}: it is damaged, or not whole yet"
            )
        return found

    @property
    def said(self) -> str:
        return f"{self.dtype} of shape {self.shape}"

    def rows(self, chosen: slice) -> NDArray[np.generic]:
        """Read rows that lie together."""
        row = math.prod(self.shape[1:])
        with open_regular(self.path) as file:
            file.seek(self.start + chosen.start * row * self.dtype.itemsize)
            content = file.read((chosen.stop - chosen.start) * row * self.dtype.itemsize)
        return np.frombuffer(content, self.dtype).reshape(-1, *self.shape[1:])


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise ValueError(f"format {version} of numpy is not read")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file, max_header_size=_MAX_HEADER)
    return tuple(map(int, shape)), bool(fortran), dtype


class ImageNetC:
    """ImageNet-C: JPEG files in `corruption/severity/class/`, 224 x 224 as they are published.

    Parameters
    ----------
    folder
        Holds one folder a corruption.
    n
        How many images at most, chosen as those of ImageNet's validation images are, the same of every folder.
    seed
        Chooses which.

    Raises
    ------
    InputError
        A folder or file is missing, or is no image of the others' size.
    """

    corruptions = CORRUPTIONS
    said = "ImageNet-C as published"

    def __init__(self, folder: Path, n: int, *, seed: int) -> None:
        self._folder = folder
        missing = [
            f"{name}/{severity}"
            for name in CORRUPTIONS
            for severity in range(1, SEVERITIES + 1)
            if not (folder / name / str(severity)).is_dir()
        ]
        if missing:
            raise InputError(
                f"{folder} lacks {', '.join(missing[:5])}: all 15 corruptions of five severities are needed"
            )
        self._files, self.labels = _chosen(folder / CORRUPTIONS[0] / "1", n, seed)

    def read(self, corruption: str, severity: int, rows: slice) -> NDArray[np.uint8]:
        """Images of those rows, shape (b, 224, 224, 3)."""
        where = self._folder / corruption / str(severity)
        files = [where / name for name in self._files[rows]]
        if absent := [path for path in files if not path.is_file()]:
            raise InputError(f"{absent[0]} is missing: every folder of ImageNet-C is to hold the same images")
        return read_images(files, where=str(where), colour=True)


@lru_cache(maxsize=1)
def _chosen(folder: Path, n: int, seed: int) -> tuple[list[str], NDArray[np.int64]]:
    """Names below the folder and labels of n images; listed once a process."""
    files, labels = choose_imagenet(folder, n, seed=seed)
    return [f"{path.parent.name}/{path.name}" for path in files], labels
