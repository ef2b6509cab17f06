"""Images from a folder with one subfolder a class."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filterlens.errors import InputError
from filterlens.inputs.arrays import as_images
from filterlens.inputs.images import Images

__all__ = ["class_files", "load_folder", "read_image"]

_DAMAGE = (  # what Pillow raises on a file that is no image, or a bomb
    *(EOFError, LookupError, MemoryError, OSError, SyntaxError, TypeError, ValueError),
    *(struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning),
)
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def load_folder(folder: Path, n: int, *, seed: int = 0) -> Images:
    """Read n images, chosen by a seed, from a folder with one subfolder a class.

    Parameters
    ----------
    folder
        Subfolders, sorted by name, are the classes 0, 1, …
    n
        How many at most.
    seed
        Chooses which; the same seed chooses the same files.

    Raises
    ------
    InputError
        There are no class subfolders or images, a file is no image, or images differ in size.
    """
    files, labels = class_files(folder)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(files))[:n])
    arrays = [read_image(files[i]) for i in chosen]
    odd = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if odd is not None:
        raise InputError(
            f"{files[chosen[odd]]} is {_size(arrays[odd])} but {files[chosen[0]]} is {_size(arrays[0])}: "
            "bring all images to one size and mode (an ImageNet folder is cropped with `dataset` imagenet)"
        )
    return as_images(folder.name, np.stack(arrays), np.asarray(labels)[chosen], where=str(folder))


def class_files(folder: Path, classes: Mapping[str, int] | None = None) -> tuple[list[Path], list[int]]:
    """List the images of a folder and their classes, sorted by class, then by name.

    Parameters
    ----------
    folder
        Has one subfolder a class.
    classes
        Class index by subfolder name; None counts the sorted subfolders.

    Raises
    ------
    InputError
        There are no subfolders or no images, or a subfolder is no known class.
    """
    if not folder.is_dir():
        raise InputError(f"--data {folder} is no folder")
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not subfolders:
        raise InputError(f"{folder} has no subfolders: an image folder has one subfolder a class")
    files: list[Path] = []
    labels: list[int] = []
    for index, subfolder in enumerate(subfolders):
        if classes is not None and subfolder.name not in classes:
            raise InputError(f"{subfolder} is no class of the data set: its name is not known")
        found = sorted(path for path in subfolder.iterdir() if path.suffix.lower() in _SUFFIXES)
        files += found
        labels += [index if classes is None else classes[subfolder.name]] * len(found)
    if not files:
        raise InputError(f"{folder} has class subfolders but no images ({', '.join(sorted(_SUFFIXES))})")
    return files, labels


def read_image(path: Path, *, crop: tuple[int, int] | None = None, colour: bool = False) -> NDArray[Any]:
    """Read one image.

    Parameters
    ----------
    path
        The file.
    crop
        (shorter side to resize to, side of the square cut from the centre), or None to take it as it is.
    colour
        Make a grey image a three-channel one.

    Returns
    -------
        uint8, shape (height, width, channels); one channel for a grey image.

    Raises
    ------
    InputError
        The file is no image.
    """
    try:
        with Image.open(path) as opened:
            grey = opened.mode in {"L", "1"} and not colour
            image = opened.convert("L" if grey else "RGB")
    except _DAMAGE as error:
        raise InputError(f"{path} cannot be read as an image ({error})") from error
    if crop is not None:
        image = _resize_and_crop(image, *crop)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def _resize_and_crop(image: Image.Image, side: int, cut: int) -> Image.Image:
    """Bilinear, antialiased, as torchvision's `Resize(side)` and `CenterCrop(cut)` do it."""
    width, height = image.size
    size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - cut) / 2), round((size[1] - cut) / 2)
    return image.crop((left, top, left + cut, top + cut))


def _size(array: NDArray[Any]) -> str:
    return "x".join(str(side) for side in array.shape)
