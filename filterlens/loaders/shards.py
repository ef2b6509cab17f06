"""`PATH.safetensors#NAME`: one of many models in a safetensors file, its tensors named `NAME/…` or `NAME.…`."""

from __future__ import annotations

import hashlib
import mmap
from bisect import bisect_left
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filterlens.errors import CheckpointError
from filterlens.loaders.safetensors import Span, check_header, natural_order, unreadable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Shard", "open_shard"]

_SEPARATORS: Final = ("/", ".")
_COMPARED: Final = 20_000  # names that a misspelt one is compared with
_TYPES: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64", "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip


def open_shard(path: Path) -> Shard:
    """Open a file of many models; the last few are kept open as long as they do not change.

    Raises
    ------
    CheckpointError
        It is damaged, cannot be read, or its header lies about the bytes that follow.
    """
    try:
        found = path.stat()
        return _opened(path.resolve(), (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


@lru_cache(maxsize=2)
def _opened(path: Path, _state: tuple[int, ...]) -> Shard:
    return Shard(path)


class Shard:
    """A safetensors file of many models; tensors are mapped, not copied.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ValueError, OSError
        It is damaged, cannot be read, or its header lies about the bytes that follow.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._spans = check_header(path)
        self._places = {name: place for place, name in enumerate(self._spans)}
        self._names = sorted(self._spans)
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return one model's tensors by their names in it, in the natural order of these.

        Raises
        ------
        CheckpointError
            The file holds no model of that name; the message has names near it.
        """
        members = sorted(self._members(name), key=lambda member: natural_order(member[0]))
        return {own: self._tensor(whole) for own, whole in members}

    def digest(self, name: str) -> str:
        """SHA-256 of one model's tensors, their names in it, types and shapes, whatever else the file holds.

        Raises
        ------
        CheckpointError
            The file holds no model of that name.
        """
        digest = hashlib.sha256()
        with memoryview(self._bytes) as view:
            for own, whole in self._members(name):
                span = self._spans[whole]
                digest.update(f"{len(own)}:{own} {span.dtype} {span.shape}".encode("utf-8", "surrogatepass"))
                digest.update(view[span.start : span.stop])
        return digest.hexdigest()

    def _members(self, name: str) -> list[tuple[str, str]]:
        """Names of one model's tensors, in it and in the file."""
        found = [(prefix, self._beginning(prefix)) for prefix in (f"{name}{end}" for end in _SEPARATORS) if name]
        found = [(prefix, names) for prefix, names in found if names]
        if len(found) > 1:
            raise CheckpointError(
                f"{self.path} holds tensors named {name}/… and {name}.…: rename the tensors of one of the two models"
            )
        if not found:
            raise CheckpointError(f"{self.path} holds no model {name!r}: {self._near(name)}")
        prefix, names = found[0]
        return [(whole[len(prefix) :], whole) for whole in sorted(names, key=self._places.__getitem__)]

    def _beginning(self, prefix: str) -> Sequence[str]:
        after = f"{prefix[:-1]}{chr(ord(prefix[-1]) + 1)}"
        return self._names[bisect_left(self._names, prefix) : bisect_left(self._names, after)]

    def _near(self, name: str) -> str:
        """Name the models that are spelt alike, or the first ones."""
        known = dict.fromkeys(whole.rpartition("/")[0] or whole.partition(".")[0] for whole in self._names)
        near = get_close_matches(name, list(islice(known, _COMPARED)), n=3, cutoff=0.5)
        shown = near or list(islice(known, 3))
        more = "" if near or len(known) <= len(shown) else ", …"
        return f"{'did you mean' if near else 'there are'} {', '.join(f'{text:.80}' for text in shown)}{more}"

    def _tensor(self, name: str) -> Tensor:
        import torch  # not for digests, which the driver of an audit makes: 200 MB

        span = self._spans[name]
        dtype = getattr(torch, _TYPES[span.dtype], None)
        if dtype is None:
            raise CheckpointError(f"tensor {name:.100} of {self.path} is of type {span.dtype}, which this torch lacks")
        if span.start == span.stop:
            return torch.empty(span.shape, dtype=dtype)
        return _mapped(self._bytes, span, dtype)


def _mapped(data: mmap.mmap, span: Span, dtype: torch.dtype) -> Tensor:
    import torch

    count = (span.stop - span.start) // dtype.itemsize
    return torch.frombuffer(data, dtype=dtype, count=count, offset=span.start).reshape(span.shape)
