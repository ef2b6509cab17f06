"""Tar archives, header by header: names, kinds and places of the members, within a budget.

Python's tarfile looks into extended headers with regular expressions that a hostile file keeps busy for ever, and
reads whatever size a header declares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["DamagedTar", "TarMember", "is_tar", "members"]

_BLOCK: Final = 512
#: Bytes of one extended header, which holds a path and times.
_EXTENDED: Final = 1 << 16
_HEADERS: Final = 30_000
_PAX: Final = frozenset({b"x", b"X"})
_PAX_GLOBAL: Final = b"g"
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
#: Kinds that are followed by nothing: links, devices, folders and pipes.
_EMPTY: Final = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})


class DamagedTar(ValueError):  # noqa: N818 - told as an error of ours by the caller, who knows the file
    """An archive is damaged, or of a kind that is not read; the message says where."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member of an archive.

    Parameters
    ----------
    name
        As the archive has it.
    kind
        One byte, as POSIX names kinds.
    offset
        Position of its first byte in the archive.
    size
        In bytes.
    """

    name: str
    kind: bytes
    offset: int
    size: int

    @property
    def is_file(self) -> bool:
        """Whether it is a plain file."""
        return self.kind in {b"0", b"\0", b"7"}

    @property
    def is_device(self) -> bool:
        """Whether it is a device or a pipe."""
        return self.kind in {b"3", b"4", b"6"}


def is_tar(path: Path) -> bool:
    """Whether the file begins as a plain tar archive, whatever its name: many `.tar` files are `torch.save` files."""
    try:
        with path.open("rb") as file:
            block = file.read(_BLOCK)
        return len(block) == _BLOCK and bool(_header(block))
    except (OSError, DamagedTar):
        return False


def members(file: BinaryIO, size: int) -> Iterator[TarMember]:
    """Read the members of an archive.

    Parameters
    ----------
    file
        The archive.
    size
        Size of the archive in bytes.

    Raises
    ------
    DamagedTar
        A header is damaged or too long, declares more than there is, or there are very many.
    """
    place = 0
    extended: dict[bytes, bytes] = {}
    for _ in range(_HEADERS):
        file.seek(place)
        block = file.read(_BLOCK)
        if not any(block):
            return
        name, kind, length = _header(block)
        place += _BLOCK
        if kind in _PAX or kind in {_PAX_GLOBAL, _LONG_NAME, _LONG_LINK}:
            if length > _EXTENDED or place + length > size:
                raise DamagedTar(f"a header of {length} bytes is longer than {_EXTENDED} or than the archive")
            content = file.read(length)
            if kind in _PAX:
                extended |= _records(content)
            elif kind == _PAX_GLOBAL:
                _records(content)
            elif kind == _LONG_NAME:
                extended[b"path"] = content.partition(b"\0")[0]
        else:
            if kind == _SPARSE or any(key.startswith(b"GNU.sparse") for key in extended):
                raise DamagedTar("a member is a sparse file, which is not read")
            name = extended.get(b"path", name)
            length = 0 if kind in _EMPTY else _decimal(extended[b"size"]) if b"size" in extended else length
            if place + length > size:
                raise DamagedTar(f"its member {name[-100:]!r} declares more than the archive holds")
            yield TarMember(name.decode("utf-8", "surrogateescape"), kind, place, length)
            extended = {}
        place += -(-length // _BLOCK) * _BLOCK
    raise DamagedTar(f"it has more than {_HEADERS} headers: it is not trusted")


def _header(block: bytes) -> tuple[bytes, bytes, int]:
    """Read a header's name, kind and size, once its checksum is found right."""
    if len(block) < _BLOCK:
        raise DamagedTar("it ends within a header")
    blank = block[:148] + b" " * 8 + block[156:]
    checksum = _number(block[148:156])
    # some old programs added up signed bytes
    if checksum != sum(blank) and checksum != sum(blank) - 256 * sum(byte > 127 for byte in blank):
        raise DamagedTar("the checksum of a header is wrong")
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return name, block[156:157], _number(block[124:136])


def _number(part: bytes) -> int:
    """Read a number in octal digits, or in bytes behind a mark."""
    if part[0] == 0x80:
        return int.from_bytes(part[1:], "big")
    digits = part.partition(b"\0")[0].strip(b" ")
    if digits.strip(b"01234567"):
        raise DamagedTar("a number of a header is none")
    return int(digits or b"0", 8)


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise DamagedTar("a number of an extended header is none")
    return int(digits)


def _records(content: bytes) -> dict[bytes, bytes]:
    """Read the records of an extended header, each of which begins with its own length."""
    records: dict[bytes, bytes] = {}
    place = 0
    while place < len(content) and content[place]:
        space = content.find(b" ", place, place + 21)
        length = _decimal(content[place:space]) if space > 0 else 0
        key, equals, value = content[space + 1 : place + length - 1].partition(b"=")
        if not key or not equals or content[place + length - 1 : place + length] != b"\n":
            raise DamagedTar("an extended header is damaged")
        records[key] = value
        place += length
    return records
