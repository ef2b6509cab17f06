"""The two kinds of files in which CIFAR comes: a tar archive, and a pickle of arrays.

Neither is given to Python's own readers. `tarfile` takes names and sizes from extended headers, whose patterns a file
can make it search for hours; a pickle that may name NumPy's types can change them, and memory with them.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.reading import EXPANSION, FREE_BYTES, open_regular
from filterlens.pickles import PickleError, read_pickle

__all__ = ["read_batch", "read_member"]

_SIDE: Final = 32
_PIXELS: Final = 3 * _SIDE * _SIDE
_MAX_MEMBERS: Final = 10_000
_TYPE: Final = re.compile("[|<>=]?(?:b1|[iu][1248]|f[248])")
_MODULES: Final = ("numpy.core.multiarray", "numpy._core.multiarray")


def read_member(path: Path, name: str) -> bytes:
    """Read one file of a tar archive, which may be compressed by gzip.

    Parameters
    ----------
    path
        The archive.
    name
        Name of the file in it, as it stands in the plain header; extended headers are ignored.

    Raises
    ------
    InputError
        The file is none, or the archive does not hold it.
    OSError, EOFError, ValueError, zlib.error, tarfile.TarError
        The archive is damaged, or declares more than its bytes can hold.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open_regular(path))
        left = max(FREE_BYTES, EXPANSION * os.fstat(file.fileno()).st_size)
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: IO[bytes] = cast("IO[bytes]", stack.enter_context(gzip.open(file))) if packed else file
        for _ in range(_MAX_MEMBERS):
            header = stream.read(tarfile.BLOCKSIZE)
            if not header.strip(b"\0"):
                raise ValueError(f"it holds no {name}")
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            padded = -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            left -= padded + tarfile.BLOCKSIZE
            if member.name == name and not (member.isreg() and 0 <= member.size <= min(left, FREE_BYTES)):
                raise InputError(f"{path}: {name} is no plain file of credible size: download it again")
            if member.size < 0 or left < 0:
                raise ValueError("it holds more than so many bytes can")
            if member.name == name:
                content = stream.read(member.size)
                if len(content) != member.size:
                    raise EOFError("it is cut off")
                return content
            stream.seek(padded, os.SEEK_CUR)
        raise ValueError(f"it holds more than {_MAX_MEMBERS} files")


def read_batch(content: bytes, key: str, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read a pickled batch, of Python 2 or 3.

    Parameters
    ----------
    content
        The pickle.
    key
        Key of the labels.
    where
        The file, for messages.

    Returns
    -------
        Pixels, uint8, shape (n, 3, 32, 32), and labels as they are.

    Raises
    ------
    InputError
        It is damaged, or holds anything but arrays of numbers and plain values; nothing of it was run.
    """
    try:
        found = read_pickle(content, constructors=_CONSTRUCTORS, build=_set_state, encoding="latin1")
        if found.unknown:
            raise InputError(
                f"{where}: the pickle asks for {found.unknown[0]}, which no CIFAR batch holds; it was not run"
            )
        if not isinstance(found.content, dict):
            raise PickleError("it holds no dictionary")
        rows, labels = (_array(found.content, name) for name in ("data", key))
    except (PickleError, ValueError, OverflowError) as error:
        raise InputError(f"{where} cannot be read as a CIFAR batch ({error}): it is damaged") from error
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _PIXELS:
        raise InputError(f"{where}: pixels are {rows.dtype} of shape {rows.shape}; expected uint8 (n, {_PIXELS})")
    return rows.reshape(-1, 3, _SIDE, _SIDE), labels


@dataclass(slots=True)
class _Type:
    """Stands for a type of NumPy."""

    name: str
    order: Literal["|", "<", ">", "="] = "|"


@dataclass(slots=True)
class _Array:
    """Stands for an array: shape, type, whether it lies in Fortran's order, bytes."""

    state: Sequence[Any] = ()


def _make_type(name: object, *_: object) -> _Type:
    if not isinstance(name, str) or not _TYPE.fullmatch(name):
        raise PickleError(f"it holds an array of {name!r:.40}; expected numbers")
    return _Type(name)


def _set_state(target: object, state: object) -> None:
    if not isinstance(state, tuple):
        raise PickleError("an array or its type has no state")
    if isinstance(target, _Array):
        target.state = state[-4:]
    elif isinstance(target, _Type):
        if len(state) < 2 or state[1] not in ("|", "<", ">", "="):
            raise PickleError("an array has numbers of an unknown byte order")
        target.order = state[1]


_CONSTRUCTORS: Final = {
    **{f"{module}._reconstruct": lambda *_: _Array() for module in _MODULES},
    "numpy.ndarray": None,  # the kind of array that is to be made: there is but one
    "numpy.dtype": _make_type,
}


def _array(batch: dict[Any, Any], key: str) -> NDArray[Any]:
    """Make an array of a list of integers, or of bytes whose type and number are checked."""
    value = batch.get(key)
    if isinstance(value, list | tuple) and all(type(label) is int and abs(label) < 1 << 62 for label in value):
        return np.array(value, dtype=np.int64)
    if not isinstance(value, _Array):
        raise PickleError(f"it holds no array {key!r}")
    if len(value.state) != 4:
        raise PickleError(f"the array {key!r} is incomplete")
    shape, kind, fortran, data = value.state
    if isinstance(data, str):  # Python 2 wrote bytes as text
        data = data.encode("latin1")
    if not (isinstance(shape, tuple) and len(shape) <= 32 and all(type(side) is int and side >= 0 for side in shape)):
        raise PickleError(f"the array {key!r} has no shape")
    if not (isinstance(kind, _Type) and isinstance(data, bytes)):
        raise PickleError(f"the array {key!r} has no bytes of numbers")
    dtype = np.dtype(kind.name).newbyteorder(kind.order)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise PickleError(f"the array {key!r} has {len(data)} bytes, which do not fill its shape {shape}")
    order: Any = "F" if fortran else "C"
    return np.ndarray(shape, dtype, data, order=order)
