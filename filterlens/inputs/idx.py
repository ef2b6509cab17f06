"""MNIST's IDX files, as Fashion-MNIST, EMNIST, KMNIST and MNIST itself are published, plain or compressed by gzip."""

from __future__ import annotations

import gzip
import math
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.arrays import as_images
from filterlens.inputs.images import Images
from filterlens.inputs.reading import MAX_BYTES, check_cost, open_regular
from filterlens.process.digests import combined_digest, file_digest

__all__ = ["IdxSet", "find_idx"]

_NAME: Final = re.compile(
    r"(?P<set>(?:[a-z0-9]+-)*?)(?P<split>train|t10k|test)-(?P<what>images|labels)-idx[13]-ubyte(?:\.gz)?", re.IGNORECASE
)
_SPLITS: Final = {"train": "train", "t10k": "test", "test": "test"}
_BYTES: Final = 8  # the type's code of unsigned bytes, the only one that these data sets have
_MAX_SIDE: Final = 4096
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class IdxSet:
    """One data set in IDX files.

    Parameters
    ----------
    where
        Folder or file that was named, for messages.
    name
        Such as `emnist-letters`; empty where its files have no name in front.
    files
        By split and by what they hold: (`train`, `images`), …
    """

    where: Path
    name: str
    files: Mapping[tuple[str, str], Path] = field(default_factory=dict)

    def has(self, split: str) -> bool:
        """Whether images and labels of a split are there."""
        return (split, "images") in self.files and (split, "labels") in self.files

    @property
    def has_splits(self) -> bool:
        """Whether there are images to learn from and others to test on."""
        return self.has("train") and self.has("test")

    def digest(self) -> str:
        """Digest the files of both splits."""
        named = ((" ".join(key), file_digest(file)) for key, file in sorted(self.files.items()))
        return f"idx:{self.name}:{combined_digest(named)}"

    def load(self, n: int, *, split: str = "test") -> Images:
        """Read the first n images of a split.

        Returns
        -------
            One channel. EMNIST's images, which are published transposed, are turned upright; EMNIST Letters counts its
            classes from 1, here they count from 0.

        Raises
        ------
        InputError
            A file is missing or damaged, or declares more than its bytes can hold; or images and labels do not belong
            together.
        """
        if not self.has(split):
            held = ", ".join(sorted(path.name for path in self.files.values())) or "nothing"
            raise InputError(f"{self.where} lacks images or labels of the {split} split; it holds {held:.300}")
        images, n_images = _read(self.files[split, "images"], 3, n)
        labels, n_labels = _read(self.files[split, "labels"], 1, n)
        if n_images != n_labels:
            raise InputError(f"{self.where} holds {n_images} {split} images but {n_labels} labels: download both again")
        if self.name.startswith("emnist"):
            images = images.transpose(0, 2, 1)
        classes = labels.astype(np.int64) - (self.name == "emnist-letters")
        return as_images(self.name or self.where.stem, images[..., None], classes, where=str(self.where))


def find_idx(path: Path) -> IdxSet | None:
    """Find the data set that a folder holds, or that a file of images belongs to; None where there is none.

    Raises
    ------
    InputError
        A folder holds several: the message names them.
    """
    named = None if path.is_dir() else _NAME.fullmatch(path.name)
    if not path.is_dir() and named is None:
        return None
    found: dict[str, dict[tuple[str, str], Path]] = {}
    with os.scandir(path.parent if named else path) as entries:
        names = sorted(entry.name for entry in entries if _NAME.fullmatch(entry.name) and entry.is_file())
    for name in names:
        if (match := _NAME.fullmatch(name)) is not None:
            key = _SPLITS[match["split"].lower()], match["what"].lower()
            found.setdefault(_set_of(match), {}).setdefault(key, (path.parent if named else path) / name)
    if named is not None:
        return IdxSet(path, _set_of(named), found.get(_set_of(named), {}))
    if len(found) > 1:
        raise InputError(
            f"{path} holds the data sets {', '.join(found)}: name one of them by its file of images, such as "
            f"{path / names[0]}"
        )
    return next((IdxSet(path, name, files) for name, files in found.items()), None)


def _set_of(match: re.Match[str]) -> str:
    return match["set"].strip("-").lower()


def _read(path: Path, dimensions: int, n: int) -> tuple[NDArray[np.uint8], int]:
    """Return the first n rows of a file, and how many it has; every byte passes by, so that damage shows."""
    try:
        with ExitStack() as stack:
            file = stack.enter_context(open_regular(path))
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = cast("IO[bytes]", stack.enter_context(gzip.open(file))) if packed else file
            shape = _header(stream, path, dimensions)
            stored = os.fstat(file.fileno()).st_size
            total = math.prod(shape)
            check_cost(str(path), total, stored)
            kept = (min(n, shape[0]), *shape[1:])
            check_cost(str(path), 5 * math.prod(kept), stored)  # as they are stored, and as float32
            content = _exactly(stream, math.prod(kept))
            left = total - len(content)
            while left > 0:
                left -= len(_exactly(stream, min(_BLOCK, left)))
            if stream.read(1):
                raise ValueError("it holds more than it declares")
    except (InputError, MemoryError):
        raise
    except Exception as error:  # gzip and zlib raise several kinds on a damaged file
        raise InputError(f"{path} cannot be read as an IDX file ({error}): download it again") from error
    return np.frombuffer(content, dtype=np.uint8).reshape(kept), shape[0]


def _header(stream: IO[bytes], path: Path, dimensions: int) -> tuple[int, ...]:
    magic = _exactly(stream, 4)
    if magic[:2] != b"\0\0" or magic[2] != _BYTES or magic[3] != dimensions:
        raise ValueError(f"its first bytes are {magic.hex(' ')}; expected 00 00 08 {dimensions:02x}")
    shape: tuple[Any, ...] = tuple(int(side) for side in np.frombuffer(_exactly(stream, 4 * dimensions), dtype=">u4"))
    if 0 in shape or max(shape[1:], default=1) > _MAX_SIDE or math.prod(shape) > MAX_BYTES:
        raise InputError(f"{path} declares {' x '.join(map(str, shape))} bytes, which no such data set has")
    return shape


def _exactly(stream: IO[bytes], length: int) -> bytes:
    content = stream.read(length)
    if len(content) != length:
        raise EOFError("it is cut off")
    return content
