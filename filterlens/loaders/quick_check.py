"""Check from its outline whether a file is a whole checkpoint: nothing that fails is kept in the cache.

No tensor is read: an end record, a header, a magic number, the lengths of outer fields. A file may pass and still be
damaged inside; its loader says so.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO, Final

from filterlens.catalogs.trajectories import SUFFIXES
from filterlens.loaders.kinds import detect_non_checkpoint

__all__ = ["quick_check"]

_END_RECORD: Final = b"PK\5\6"
_END_SIZE: Final = 22
#: torch.save's magic number as pickle writes it, in binary and in text protocols
_LEGACY: Final = (b"l\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356")
_PICKLES: Final = {*SUFFIXES} - {".safetensors", ".onnx"}
_SAFETENSORS_HEADER: Final = 100 << 20
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
        head = file.read(1024)
        return _text_answer(head) or _outline(file, head, path)


def _outline(file: BinaryIO, head: bytes, path: Path) -> str:
    """Choose the check of the kind that the suffix names, or the first bytes where the suffix leaves it open."""
    suffix, size = path.suffix.lower(), path.stat().st_size
    check = {".safetensors": _safetensors, ".onnx": _onnx}.get(suffix)
    if check is None and head.startswith(b"PK\3\4"):
        check = _zip
    elif check is None and head[257:262] == b"ustar":
        check = _tar
    if check is not None:
        return check(file, size)
    if suffix in _PICKLES and not any(magic in head[:64] for magic in _LEGACY):
        return "no file of torch.save, in its zip or its older format, nor a tar archive"
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


def _zip(file: BinaryIO, size: int) -> str:
    """Look for the end record at the file's very end; it points at a directory before it."""
    tail = _read(file, max(0, size - _END_SIZE - 0xFFFF), _END_SIZE + 0xFFFF)
    start = tail.rfind(_END_RECORD)
    if start < 0:
        return f"a truncated zip file ({size} bytes, its end is missing)"
    record = tail[start:]
    comment = int.from_bytes(record[20:22], "little")
    if len(record) != _END_SIZE + comment:
        return "a damaged zip file: its end record does not end the file"
    directory = int.from_bytes(record[12:16], "little"), int.from_bytes(record[16:20], "little")
    if 0xFFFFFFFF not in directory and sum(directory) > size - len(record):
        return "a damaged zip file: its directory lies outside of it"
    return ""


def _safetensors(file: BinaryIO, size: int) -> str:
    length = int.from_bytes(_read(file, 0, 8), "little")
    if length > min(_SAFETENSORS_HEADER, size - 8):
        return f"a truncated safetensors file, or none: a header of {length} bytes is declared, {size} bytes are there"
    try:
        header = json.loads(_read(file, 8, length))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return "no safetensors file: its header cannot be read"
    expected = 8 + length + max(ends, default=0)
    return (
        ""
        if expected == size
        else f"a truncated or damaged safetensors file: {expected} bytes are declared, {size} are there"
    )


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


def _tar(file: BinaryIO, size: int) -> str:
    """Step over the members, each of which says its size, to the block of zeros that ends an archive."""
    position = 0
    for _ in range(_FIELDS):
        block = _read(file, position, 512)
        if len(block) < 512:
            return f"a truncated tar archive ({size} bytes, its end is missing)"
        if not block.strip(b"\0"):
            return ""
        field = block[124:136]
        try:
            length = int.from_bytes(field[1:], "big") if field[0] & 0x80 else int(field.strip(b"\0 ") or b"0", 8)
        except ValueError:
            return "a damaged tar archive: a member has no size"
        position += 512 + -(-length // 512) * 512
    return f"no archive of a checkpoint: over {_FIELDS} members"


def _read(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)
