"""Safetensors files: a header and bytes, mapped into memory, nothing to run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safetensors import safe_open

from filterlens.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Span", "check_header", "natural_order", "read_safetensors", "unreadable"]


#: Bytes of a header; some hundred describe a tensor.
_HEADER: Final = 1 << 25
_DIMENSIONS: Final = 64
#: Bits of a value of each type that torch has.
_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """One tensor as a header has it: its type and shape, and its first and last byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Read tensors, in the natural order of their names, and the header's metadata.

    Parameters
    ----------
    path
        The file; its tensors are mapped, not copied.

    Raises
    ------
    CheckpointError
        It is damaged, or its header lies about the bytes that follow.
    """
    try:
        check_header(path)
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys(), key=natural_order)}
    except Exception as error:  # the library raises anything on a damaged file
        raise unreadable(path, error) from error
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors: save the network's state_dict() in it")
    return tensors, metadata


def natural_order(name: str) -> list[tuple[str, int, str]]:
    """Key that sorts names of tensors by their numbers: `layer.2` before `layer.10`.

    The library saves tensors in the order of their names as text, so that the file does not tell the network's order.

    Examples
    --------
    >>> sorted(["10.weight", "conv", "9.weight"], key=natural_order)
    ['9.weight', '10.weight', 'conv']
    """
    parts = ((text, number.lstrip("0")) for text, number in re.findall(r"([^0-9]*)([0-9]*)", name))
    return [(text, len(number), number) for text, number in parts]  # a number may have more digits than int() takes


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """Say that a file is damaged, or of another kind."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return CheckpointError(f"{path} is no safetensors file that can be read ({said}): fetch it again or save it anew")


def check_header(path: Path) -> dict[str, Span]:
    """Check that every byte belongs to exactly one tensor before another parser reads the header.

    Returns
    -------
        Where each tensor lies, in the order of their bytes.

    Raises
    ------
    ValueError
        The header is damaged, or lies.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER, size - 8):
            raise ValueError(f"its header is {length} bytes long, and the file {size}")
        text = file.read(length)
    try:
        header = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("its header is nested deeper than a header is") from error
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not text")
    end, first = 0, 8 + length
    spans: dict[str, Span] = {}
    for start, stop, name in sorted(_span(name, entry) for name, entry in header.items()):
        if start != end:
            raise ValueError(f"tensor {name[:100]!r} begins at byte {start} where {end} was expected")
        end = stop
        spans[name] = Span(header[name]["dtype"], tuple(header[name]["shape"]), first + start, first + stop)
    if end != size - first:
        raise ValueError(f"its tensors end at byte {end} of {size - first}")
    return spans


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header has a name twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"its header holds {name}")


def _span(name: str, entry: object) -> tuple[int, int, str]:
    """Return where a tensor begins and ends, once its shape and type agree with it."""
    name.encode()  # half a surrogate pair cannot be stored
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)], **more} if not more:
            pass
        case _:
            raise ValueError(f"tensor {name[:100]!r} has no type, shape or place")
    if dtype not in _BITS:
        raise ValueError(f"tensor {name[:100]!r} has the unknown type {dtype[:40]!r}")
    if (
        len(shape) > _DIMENSIONS
        or not all(type(length) is int and length >= 0 for length in shape)
        or math.prod(max(length, 1) for length in shape) >= 1 << 62
    ):
        raise ValueError(f"tensor {name[:100]!r} has a shape that is none")
    if not 0 <= start <= stop or math.prod(shape) * _BITS[dtype] // 8 != stop - start:
        raise ValueError(f"tensor {name[:100]!r} has {stop - start} bytes, which is not what its shape needs")
    return start, stop, name
