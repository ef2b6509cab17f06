"""Images from a `.npz` file with the arrays `images` and `labels`."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.arrays import as_images
from filterlens.inputs.images import Images

__all__ = ["load_npz"]

_MAX_BYTES = 32 << 30
_DAMAGE = (  # what zipfile and numpy raise on a file that is not what it says
    *(EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    *(lzma.LZMAError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def load_npz(path: Path, n: int) -> Images:
    """Read the first n images of a `.npz` file; pickled arrays are refused.

    Parameters
    ----------
    path
        Holds `images` (uint8, or float in [0, 1]; NHWC or NCHW) and `labels` (integers).
    n
        How many at most.

    Raises
    ------
    InputError
        The file is missing or damaged, lacks an array, or an array is of the wrong shape, type or range.
    """
    if not path.is_file():
        raise InputError(f"--data {path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            declared = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        missing = [name for name in ("images", "labels") if name not in declared]
        if missing:
            raise InputError(f"{path} lacks the array {missing[0]!r}; it holds {', '.join(declared) or 'nothing'}")
        if max(declared["images"], declared["labels"]) > _MAX_BYTES:
            raise InputError(f"{path} declares more than {_MAX_BYTES >> 30} GB of images: cut it down")
        with np.load(path, allow_pickle=False) as file:
            images: NDArray[Any] = file["images"]
            labels: NDArray[Any] = file["labels"]
    except _DAMAGE as error:
        raise InputError(f"{path} cannot be read as .npz ({error}): save it with numpy.savez") from error
    if images.ndim and labels.ndim == 1 and len(images) != len(labels):
        raise InputError(f"{path} holds {len(images)} images but {len(labels)} labels: give one label an image")
    return as_images(
        path.stem, images[:n] if images.ndim else images, labels[:n] if labels.ndim else labels, where=str(path)
    )
