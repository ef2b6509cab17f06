"""Images from a folder, or a `.zip` archive, with one subfolder a class; or with `train` and `test` of such."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from filterlens.errors import InputError
from filterlens.inputs.arrays import as_images
from filterlens.inputs.images import Images
from filterlens.inputs.reading import check_cost, read_regular
from filterlens.inputs.zipped import ZipMember, is_zip, zip_members

__all__ = [
    "MAX_FILES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "SPLITS",
    "class_files",
    "has_splits",
    "load_folder",
    "read_image",
    "read_images",
]

#: Subfolders that make a folder or archive one of splits, each with one subfolder a class.
SPLITS: Final = ("test", "train")

#: Of one image, which takes at most four bytes a pixel decoded; the largest of ImageNet has 61 million.
MAX_PIXELS: Final = 1 << 26
#: Of one image's rows, for each of which Pillow keeps a pointer, and of its columns.
MAX_SIDE: Final = 1 << 14
#: Entries of a folder and its subfolders; ImageNet has 1.3 million images.
MAX_FILES: Final = 2_000_000
_MAX_FILE: Final = 1 << 29
_MAX_SCANS: Final = 100  # of a JPEG: each passes over all pixels and takes but a few bytes
_SCAN: Final = re.compile(rb"\xff\xda\0[\x06\x08\x0a\x0c][\x01-\x04]")
_TILE_SIDES: Final = (322, 323)  # tags of a TIFF
# named, so that no other reader of Pillow is asked: that of EPS starts Ghostscript, whatever the file is called
_FORMATS: Final = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def load_folder(folder: Path, n: int, *, seed: int = 0, split: str = "test") -> Images:
    """Read n images, chosen by a seed, from a folder or a `.zip` archive with one subfolder a class.

    Parameters
    ----------
    folder
        Subfolders, sorted by name, are the classes 0, 1, …; or it holds `train/` and `test/` with such subfolders.
    n
        How many at most.
    seed
        Chooses which; the same seed chooses the same files, and more of them where n is larger.
    split
        `test` or `train`, where the folder has both.

    Raises
    ------
    InputError
        There are no class subfolders or images, a file is no image, or images differ in size.
    """
    with ExitStack() as stack:
        if is_zip(folder):
            members = stack.enter_context(zip_members(folder, MAX_FILES))
            files: Sequence[Path | ZipMember]
            files, labels = _class_members(members, folder, split)
        elif has_splits(folder):
            files, labels = class_files(folder / split, _all_classes(folder))
        else:
            files, labels = class_files(folder)
        chosen = np.sort(np.random.default_rng(seed).permutation(len(files))[:n])
        pixels = read_images([files[i] for i in chosen], where=str(folder))
    return as_images(folder.stem, pixels, np.asarray(labels)[chosen], where=str(folder))


def has_splits(folder: Path) -> bool:
    """Whether a folder or `.zip` archive holds `train/` and `test/`.

    Raises
    ------
    InputError
        It is an archive that cannot be read.
    """
    if not is_zip(folder):
        return all((folder / split).is_dir() for split in SPLITS)
    with zip_members(folder, MAX_FILES) as members:
        return {member.parts[0] for member in _images(members)} == set(SPLITS)


def _all_classes(folder: Path) -> dict[str, int]:
    """Classes of a folder of splits: a class that one of them lacks still counts."""
    names = {
        path.name for split in SPLITS for path in (folder / split).iterdir() if path.is_dir() and path.name[0] != "."
    }
    return {name: place for place, name in enumerate(sorted(names))}


def _images(members: Sequence[ZipMember]) -> list[ZipMember]:
    """Members that are images of a class; others, and hidden ones, are passed over."""
    return [
        member
        for member in members
        if len(member.parts) >= 2
        and PurePath(member.parts[-1]).suffix.lower() in _SUFFIXES
        and not any(part.startswith((".", "__")) for part in member.parts)
    ]


def _class_members(members: Sequence[ZipMember], path: Path, split: str) -> tuple[list[ZipMember], list[int]]:
    """List the images of an archive, or of one of its splits, and their classes, sorted by class, then by name."""
    images = _images(members)
    if {member.parts[0] for member in images} == set(SPLITS):
        files = [member for member in images if member.parts[0] == split]
    else:
        files = images
    names = sorted({member.parts[-2] for member in images})
    if not files or len(names) < 2:
        raise InputError(f"{path} holds no images with one folder a class ({', '.join(sorted(_SUFFIXES))})")
    classes = {name: place for place, name in enumerate(names)}
    files.sort(key=lambda member: (member.parts[-2], member.info.filename))
    return files, [classes[member.parts[-2]] for member in files]


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
        There are no subfolders or no images, more than `MAX_FILES`, or a subfolder is no known class.
    """
    if not folder.is_dir():
        raise InputError(f"--data {folder} is no folder")
    names = [name for name in _names(folder, MAX_FILES) if not name.startswith(".")]
    subfolders = [path for path in map(folder.joinpath, names) if path.is_dir()]
    if not subfolders:
        raise InputError(f"{folder} has no subfolders: an image folder has one subfolder a class")
    files: list[Path] = []
    labels: list[int] = []
    for index, subfolder in enumerate(subfolders):
        if classes is not None and subfolder.name not in classes:
            raise InputError(f"{subfolder} is no class of the data set: its name is not known")
        names = _names(subfolder, MAX_FILES - len(files))
        found = [subfolder / name for name in names if PurePath(name).suffix.lower() in _SUFFIXES]
        files += found
        labels += [index if classes is None else classes[subfolder.name]] * len(found)
    if not files:
        raise InputError(f"{folder} has class subfolders but no images ({', '.join(sorted(_SUFFIXES))})")
    return files, labels


def read_images(
    files: Sequence[Path | ZipMember], *, where: str, crop: tuple[int, int] | None = None, colour: bool = False
) -> NDArray[np.uint8]:
    """Read images of one size.

    Parameters
    ----------
    files
        At least one.
    where
        Their folder, for messages.
    crop, colour
        As `read_image` takes them.

    Returns
    -------
        uint8, shape (n, height, width, channels).

    Raises
    ------
    InputError
        A file is no image, images differ in size, or all together would need far more memory than their files have
        bytes.
    """
    stored = sum(path.stat().st_size if isinstance(path, Path) else path.info.compress_size for path in files)
    images: NDArray[np.uint8] | None = None
    for place, path in enumerate(files):
        image, shape = _open(path, crop, colour=colour)
        if images is None:
            check_cost(where, len(files) * math.prod(shape) * 5, stored)  # as uint8, and as float32
            images = np.empty((len(files), *shape), dtype=np.uint8)
        if shape != images.shape[1:]:
            raise InputError(
                f"{path} is {_size(shape)} but {files[0]} is {_size(images.shape[1:])}: "
                "bring all images to one size and mode (an ImageNet folder is cropped with `dataset` imagenet)"
            )
        images[place] = _decode(image, shape, path, crop)
    if images is None:
        raise InputError(f"{where} holds no images")
    return images


def read_image(path: Path, *, crop: tuple[int, int] | None = None, colour: bool = False) -> NDArray[np.uint8]:
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
        The file is no image of the formats that are read, or has more than `MAX_PIXELS` or `MAX_SIDE`.
    """
    image, shape = _open(path, crop, colour=colour)
    return _decode(image, shape, path, crop)


def _names(folder: Path, most: int) -> list[str]:
    """Sorted names of a folder's entries."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if len(names) == most:
                raise InputError(f"{folder} holds more than {MAX_FILES} files: give a folder with fewer")
            names.append(entry.name)
    return sorted(names)


def _open(
    path: Path | ZipMember, crop: tuple[int, int] | None, *, colour: bool
) -> tuple[Image.Image, tuple[int, int, int]]:
    """Open an image without decoding it; return it with the shape that its pixels will have."""
    with _explained(path):
        content = read_regular(path, _MAX_FILE) if isinstance(path, Path) else path.read(_MAX_FILE)
        if content[:2] == b"\xff\xd8" and sum(1 for _ in _SCAN.finditer(content)) > _MAX_SCANS:
            raise ValueError(f"a JPEG of more than {_MAX_SCANS} scans")
        if content[:4] == b"RIFF":  # whose canvas is allocated on opening
            _check_size(_webp_size(content))
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        _check_size(image.size)
        if isinstance(image, TiffImageFile):
            _check_size(tuple(int(image.tag_v2.get(tag, 1)) for tag in _TILE_SIDES))
    channels = 1 if image.mode in {"L", "1"} and not colour else 3
    return image, (crop[1], crop[1], channels) if crop else (image.height, image.width, channels)


def _decode(
    image: Image.Image, shape: tuple[int, int, int], path: Path | ZipMember, crop: tuple[int, int] | None
) -> NDArray[np.uint8]:
    with _explained(path):
        image = image.convert("L" if shape[2] == 1 else "RGB")
        if crop is not None:
            image = _resize_and_crop(image, *crop)
    pixels: NDArray[np.uint8] = np.asarray(image)
    if pixels.shape[:2] != shape[:2]:
        raise InputError(f"{path} declares {_size(shape)} pixels and holds {_size(pixels.shape)}: it is damaged")
    return pixels.reshape(shape)


@contextlib.contextmanager
def _explained(path: Path | ZipMember) -> Iterator[None]:
    """Name the file in errors of Pillow; its warnings (EXIF, mostly) are ignored: they change no pixel."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except Exception as error:  # Pillow raises anything on a damaged file
        raise InputError(f"{path} cannot be read as an image ({error})") from error


def _webp_size(content: bytes) -> tuple[int, int]:
    """Width and height of a WebP image's canvas."""
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + _little(content[24:27]), 1 + _little(content[27:30])
    if kind == b"VP8L":
        bits = _little(content[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return _little(content[26:28]) & 0x3FFF, _little(content[28:30]) & 0x3FFF


def _little(content: bytes) -> int:
    return int.from_bytes(content, "little")


def _check_size(size: tuple[int, ...]) -> None:
    if math.prod(size) > MAX_PIXELS:
        raise ValueError(f"{size[0]}x{size[1]} pixels; at most {MAX_PIXELS} are read")
    if max(size) > MAX_SIDE:
        raise ValueError(f"{size[0]}x{size[1]} pixels; at most {MAX_SIDE} a side are read")


def _resize_and_crop(image: Image.Image, side: int, cut: int) -> Image.Image:
    """Bilinear, antialiased, as torchvision's `Resize(side)` and `CenterCrop(cut)` do it."""
    width, height = image.size
    size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    _check_size(size)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - cut) / 2), round((size[1] - cut) / 2)
    return image.crop((left, top, left + cut, top + cut))


def _size(shape: Sequence[int]) -> str:
    return "x".join(str(side) for side in shape)
