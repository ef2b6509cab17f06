"""Images from a `.npz` file with the arrays `images` and `labels`."""

from __future__ import annotations

import math
import os
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.arrays import as_images
from filterlens.inputs.images import Images
from filterlens.inputs.reading import MAX_BYTES, check_cost, open_regular

__all__ = ["load_npz"]

_BLOCK: Final = 1 << 20
_MAX_HEADER: Final = 1 << 12
_MAGIC: Final = re.compile(rb"\x93NUMPY([\x01-\x03])\x00")
_ENTRY: Final = re.compile(
    r"""\s*(['"])(?P<key>descr|fortran_order|shape)\1\s*:\s*"""
    r"""(?:(['"])(?P<descr>[^'"]{1,16})\3|(?P<fortran_order>True|False)|\((?P<shape>[\dL, ]*)\))\s*(?:,|(?=\}))\s*"""
)


@dataclass(frozen=True, slots=True)
class _Header:
    """What an array says of itself."""

    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def first(self, n: int) -> _Header:
        """Header of the part that is kept: the first n rows where they lie together, else everything."""
        if self.fortran_order or not self.shape:
            return self
        return replace(self, shape=(min(n, self.shape[0]), *self.shape[1:]))


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
        The file is missing or damaged, lacks an array, or an array is of the wrong shape, type or range; or it declares
        more than it can hold (see `filterlens.inputs.reading`).
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            images, labels = _read(archive, path, n, stored=os.fstat(file.fileno()).st_size)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # zipfile raises anything on a damaged file
        raise InputError(f"{path} cannot be read as .npz ({error}): save it with numpy.savez") from error
    return as_images(path.stem, images, labels, where=str(path))


def _read(archive: zipfile.ZipFile, path: Path, n: int, *, stored: int) -> tuple[NDArray[Any], NDArray[Any]]:
    members = _members(archive, path)
    with archive.open(members["images"]) as images, archive.open(members["labels"]) as labels:
        heads = [_header(images, members["images"]), _header(labels, members["labels"])]
        rows = [head.shape[0] for head in heads if head.shape]
        if len(rows) == 2 and rows[0] != rows[1] and len(heads[1].shape) == 1:
            raise InputError(f"{path} holds {rows[0]} images but {rows[1]} labels: give one label an image")
        # as they are stored, and as float32 pixels and int64 labels
        needed = sum(
            head.first(n).size * (head.dtype.itemsize + more) for head, more in zip(heads, (4, 8), strict=True)
        )
        check_cost(str(path), needed, stored)
        if sum(member.file_size for member in members.values()) > MAX_BYTES:
            raise InputError(f"{path} declares more than {MAX_BYTES >> 30} GB of images: cut it down")
        return _rows(images, heads[0], n), _rows(labels, heads[1], n)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Entries of the two arrays, of the kinds that numpy writes."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"it holds {name[:40]!r} twice")
        found[name] = info
    for name in ("images", "labels"):
        if name not in found:
            held = ", ".join(repr(other)[1:-1] for other in list(found)[:20]) or "nothing"
            raise InputError(f"{path} lacks the array {name!r}; it holds {held:.400}")
        if found[name].compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ValueError(f"{name!r} is compressed in a way that numpy does not write")
    return {name: found[name] for name in ("images", "labels")}


def _header(member: IO[bytes], info: zipfile.ZipInfo) -> _Header:
    """Read an array's header by the letter of numpy's format; nothing of it is evaluated."""
    magic = _MAGIC.fullmatch(_exactly(member, 8))
    if magic is None:
        raise ValueError(f"{info.filename[:40]!r} is no array of numpy")
    width = 2 if magic[1] == b"\x01" else 4
    length = int.from_bytes(_exactly(member, width), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"{info.filename!r} has a header of {length} bytes")
    header = _parse(_exactly(member, length).decode("latin1"), info.filename)
    declared = 8 + width + length + header.size * header.dtype.itemsize
    if info.file_size != declared:
        raise ValueError(f"{info.filename!r} declares {declared} bytes and has {info.file_size}")
    return header


def _parse(text: str, name: str) -> _Header:
    text = text.strip()
    found: dict[str, str] = {}
    place = 1
    while entry := _ENTRY.match(text, place):
        found[entry["key"]] = entry[entry["key"]] or ""
        place = entry.end()
    if text[:1] != "{" or text[place:] != "}" or len(found) != 3 or not found["fortran_order"]:
        raise ValueError(f"the header of {name!r} is none that numpy writes for numbers")
    if "O" in found["descr"]:
        raise ValueError(f"{name!r} holds pickled objects, which are never loaded (allow_pickle is off)")
    if not re.fullmatch(r"[<>|=]?[biufc]\d{1,2}", found["descr"]):
        raise ValueError(f"{name!r} is of type {found['descr']!r}; expected numbers")
    sides = [side.strip(" L") for side in found["shape"].split(",")]
    shape = tuple(int(side) for side in (sides[:-1] if sides[-1] == "" else sides))
    if len(shape) > 32 or max(shape, default=0) >= 1 << 62:
        raise ValueError(f"{name!r} is of a shape that numpy cannot have")
    try:
        return _Header(np.dtype(found["descr"]), found["fortran_order"] == "True", shape)
    except TypeError as error:
        raise ValueError(f"{name!r} is of type {found['descr']!r}, which numpy does not know") from error


def _rows(member: IO[bytes], header: _Header, n: int) -> NDArray[Any]:
    """Read the first n rows; the rest passes by, so that the archive's checksum covers every byte."""
    kept = header.first(n)
    buffer = bytearray(kept.size * kept.dtype.itemsize)
    for start in range(0, len(buffer), _BLOCK):
        end = min(start + _BLOCK, len(buffer))
        buffer[start:end] = _exactly(member, end - start)
    while member.read(_BLOCK):
        pass
    order: Any = "F" if kept.fortran_order else "C"
    array: NDArray[Any] = np.ndarray(kept.shape, kept.dtype, buffer, order=order)
    return array[:n] if kept.shape else array


def _exactly(member: IO[bytes], length: int) -> bytes:
    content = member.read(length)
    if len(content) != length:
        raise EOFError("an array is cut off")
    return content
