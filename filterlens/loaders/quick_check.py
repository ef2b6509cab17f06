"""Check from its outline whether a file is a whole checkpoint: nothing that fails is kept in the cache.

The file's own reader says where its parts are; no tensor is read. A file may pass and still be damaged inside; its
loader says so.
"""

from __future__ import annotations

import collections
import mmap
import os
from pathlib import Path
from typing import BinaryIO, Final

from filterlens.catalogs.trajectories import SUFFIXES
from filterlens.loaders.kinds import detect_non_checkpoint
from filterlens.loaders.safetensors import check_header
from filterlens.loaders.tar import is_tar, members
from filterlens.loaders.torch_legacy import find_storages
from filterlens.loaders.torch_zip import ProgramZip, is_program, read_records
from filterlens.pickles import PickleError

__all__ = ["quick_check"]

_FIELDS: Final = 100_000
_GRAPH: Final = 7


def quick_check(path: Path) -> str:
    """Say what is wrong with the file; empty where it has the outline of a whole checkpoint of its kind.

    Parameters
    ----------
    path
        A file that is there; its suffix says what kind it should be. Of a suffix that is no checkpoint's, only an
        answer of a web server is refused.

    Raises
    ------
    OSError
        It cannot be read.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "model.safetensors"
    >>> _ = path.write_text('{"error": "rate limit exceeded"}')
    >>> quick_check(path)
    'a JSON answer, not a checkpoint: {"error": "rate limit exceeded"}'
    """
    if wrong := detect_non_checkpoint(path):
        return wrong
    with path.open("rb") as file:
        return _text_answer(file.read(1024)) or _outline(file, path)


def _outline(file: BinaryIO, path: Path) -> str:
    """Ask the reader of the kind that the suffix names whether every byte of the file has its place."""
    suffix, size = path.suffix.lower(), path.stat().st_size
    if suffix == ".onnx":
        return _onnx(file, size)
    if suffix not in SUFFIXES:
        return ""
    kind = "safetensors file" if suffix == ".safetensors" else "tar archive" if is_tar(path) else "file of torch.save"
    try:
        if kind == "safetensors file":
            check_header(path)
        elif kind == "tar archive":
            collections.deque(members(file, size), 0)
        else:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _torch(data)
    except (PickleError, ValueError) as error:
        return f"a truncated or damaged {kind}, or none ({error})"
    return ""


def _torch(data: mmap.mmap) -> str:
    """Find the parts of a file of `torch.save`, in its zip or its older format."""
    if data[:4] == b"PK\3\4":
        try:
            program = is_program(read_records(data))
        except ProgramZip:
            program = True
        return "a TorchScript program, not weights" if program else ""
    find_storages(data)
    return ""


def _text_answer(head: bytes) -> str:
    """Recognise JSON, as services send errors: the first byte of other kinds may be `{` too, the rest is no text."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text.startswith((b"{", b"[", b"<")):
        return ""
    try:
        shown = text[:-4].decode() + text[-4:].decode(errors="ignore")  # a character may be cut
    except UnicodeDecodeError:
        return ""
    if not all(letter.isprintable() or letter in "\t\r\n" for letter in shown):
        return ""
    kind = "a page of markup" if shown.startswith("<") else "a JSON answer"
    return f"{kind}, not a checkpoint: {' '.join(shown.split())[:100]}"


def _onnx(file: BinaryIO, size: int) -> str:
    """Walk over the outer fields, each of which says its length, to the file's end."""
    position, graph = 0, False
    for _ in range(_FIELDS):
        if position == size:
            return "" if graph else "no ONNX file: it holds no graph"
        tag, position = _varint(file, position)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            length, position = _varint(file, position)
        elif wire == 0:
            length, position = 0, _varint(file, position)[1]
        else:
            length = {1: 8, 5: 4}.get(wire, -1)
        position += length
        if length < 0 or not number or position > size:
            return f"a truncated ONNX file, or none: its outer fields do not end with its {size} bytes"
        graph |= number == _GRAPH
    return f"no ONNX file: over {_FIELDS} outer fields"


def _varint(file: BinaryIO, position: int) -> tuple[int, int]:
    """Read a number of protobuf; one that does not end counts as beyond the file."""
    value = 0
    for shift, byte in enumerate(_read(file, position, 10)):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, position + shift + 1
    return 0, os.fstat(file.fileno()).st_size + 1


def _read(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)
