"""The zip archives of `torch.save`, read strictly: every byte belongs to exactly one record, or the file is refused.

Zip says where things are in two places, and a file in which they differ is one thing to one reader and another thing
to the next. torch writes its records uncompressed, one behind the other, then their directory, then the end record,
and nothing else; archives of any other layout are refused.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["DamagedZip", "ProgramZip", "Record", "is_program", "read_records"]

_END: Final = struct.Struct("<IHHHHIIH")
_WIDE_END: Final = struct.Struct("<IQHHIIQQQQ")
_LOCATOR: Final = struct.Struct("<IIQI")
_ENTRY: Final = struct.Struct("<IHHHHHHIIIHHHHHII")
_LOCAL: Final = struct.Struct("<IHHHHHIIIHH")
_16, _32 = 0xFFFF, 0xFFFFFFFF
_DESCRIPTOR: Final = 0x0008
_UTF8: Final = 0x0800
_LINK: Final = 0o120000


class DamagedZip(ValueError):  # noqa: N818 - told as an error of ours by the caller, who knows the file
    """An archive is not laid out as torch does; the message says where."""


class ProgramZip(DamagedZip):
    """An archive has compressed code, as TorchScript's have."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of an archive.

    Parameters
    ----------
    offset
        Position of its first byte in the file.
    size
        In bytes; they are not compressed.
    """

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    flags: int
    crc: int
    size: int
    offset: int


def read_records(data: mmap.mmap) -> dict[str, Record]:
    """Read where the records of an archive are.

    Parameters
    ----------
    data
        The whole file.

    Returns
    -------
        By name, the archive's own folder cut off.

    Raises
    ------
    ProgramZip
        It has compressed code: it is a TorchScript program.
    DamagedZip
        Bytes belong to no record or to two, local headers and directory differ, a record is compressed or encrypted,
        or names are not those that torch gives.
    """
    count, start, stop = _directory(data)
    records: dict[str, Record] = {}
    folders: set[str] = set()
    seen: set[str] = set()
    end = 0
    entries = list(_entries(data, count, start, stop))
    for number, entry in enumerate(entries):
        if entry.offset != end:
            raise DamagedZip(f"its record {number} begins at byte {entry.offset} where {end} was expected")
        following = entries[number + 1].offset if number + 1 < count else start
        begin = _local(data, entry, following)
        end = _behind(data, entry, begin, following)
        folder, name = _name(entry)
        folders.add(folder)
        if name.lower() in seen:
            raise DamagedZip(f"it has two records {name[:100]!r}")
        seen.add(name.lower())
        records[name] = Record(begin, entry.size)
    if end != start or len(folders) != 1:
        raise DamagedZip("its records do not lie in one folder and directly before their directory")
    return records


def is_program(records: Iterable[str]) -> bool:
    """Whether records of these names are a TorchScript program."""
    names = [name.lower() for name in records]
    return any(name.rpartition("/")[2] == "constants.pkl" or name.startswith("code/") for name in names)


def _directory(data: mmap.mmap) -> tuple[int, int, int]:
    """Return how many entries the directory has, where it begins and where it ends."""
    stop = len(data) - _END.size
    if stop < 0 or data[stop : stop + 4] != b"PK\5\6":
        raise DamagedZip("its end is missing")
    _, disk, first, here, count, size, start, comment = _END.unpack_from(data, stop)
    if disk or first or here != count or comment:
        raise DamagedZip("its end record tells of other disks, or of a comment")
    if data[max(stop - _LOCATOR.size, 0) : stop].startswith(b"PK\6\7"):
        narrow = count, size, start
        count, size, start, stop = _wide_directory(data, stop)
        if any(
            short not in {min(long, limit), limit}
            for short, long, limit in zip(narrow, (count, size, start), (_16, _32, _32), strict=True)
        ):
            raise DamagedZip("its two end records differ")
    if start + size != stop or count * _ENTRY.size > size or not count:
        raise DamagedZip("its directory does not lie directly before its end record")
    return count, start, stop


def _wide_directory(data: mmap.mmap, end: int) -> tuple[int, int, int, int]:
    """Read the end record of zip64, which torch always writes."""
    locator = end - _LOCATOR.size
    stop = locator - _WIDE_END.size
    if stop < 0:
        raise DamagedZip("its zip64 end record is missing")
    mark, disk, place, disks = _LOCATOR.unpack_from(data, locator)
    sign, length, _, _, here, first, count, total, size, start = _WIDE_END.unpack_from(data, stop)
    known = (mark, sign, length, place) == (0x07064B50, 0x06064B50, _WIDE_END.size - 12, stop)
    if not known or disk or here or first or disks > 1 or count != total:
        raise DamagedZip("its zip64 end record is not where it should be, or tells of other disks")
    return count, size, start, stop


def _entries(data: mmap.mmap, count: int, start: int, stop: int) -> Iterator[_Entry]:
    place = start
    for number in range(count):
        if place + _ENTRY.size > stop:
            raise DamagedZip("its directory ends too early")
        fields = _ENTRY.unpack_from(data, place)
        sign, _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment, disk, _, mode, offset = fields
        place += _ENTRY.size
        if sign != 0x02014B50 or place + n_name + n_extra > stop or n_comment or disk:
            raise DamagedZip(f"entry {number} of its directory is none")
        name = data[place : place + n_name]
        extra = data[place + n_name : place + n_name + n_extra]
        place += n_name + n_extra
        size, packed, offset = _widened(extra, size, packed, offset)
        if method and is_program([name.decode(errors="replace").partition("/")[2]]):  # torch compresses code
            raise ProgramZip(f"its record {name[-100:]!r} is code")
        if method or packed != size or flags & ~(_DESCRIPTOR | _UTF8):
            raise DamagedZip(f"its record {name[-100:]!r} is compressed or encrypted, which torch does not do")
        if (mode >> 16) & 0o170000 == _LINK:
            raise DamagedZip(f"its record {name[-100:]!r} is a link")
        yield _Entry(name, flags, crc, size, offset)
    if place != stop:
        raise DamagedZip("its directory holds more than its entries")


def _widened(extra: bytes, *fields: int) -> list[int]:
    """Take from the zip64 field what does not fit into 32 bits."""
    wide: list[bytes] = []
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        place += 4
        if kind == 1:
            wide.append(extra[place : place + length])
        place += length
    needed = sum(field == _32 for field in fields)
    if place != len(extra) or len(wide) > 1 or (needed and not wide) or (wide and len(wide[0]) != 8 * needed):
        raise DamagedZip("an extra field of its directory is damaged")
    values = iter(struct.unpack(f"<{needed}Q", wide[0]) if wide else ())
    return [next(values) if field == _32 else field for field in fields]


def _local(data: mmap.mmap, entry: _Entry, following: int) -> int:
    """Check a record's own header against the directory; return where its bytes begin."""
    if entry.offset + _LOCAL.size > following:
        raise DamagedZip(f"its record {entry.name[-100:]!r} has no room for its header")
    sign, _, flags, method, _, _, crc, packed, size, n_name, n_extra = _LOCAL.unpack_from(data, entry.offset)
    begin = entry.offset + _LOCAL.size
    later = bool(flags & _DESCRIPTOR)
    sizes = {0, min(entry.size, _32)} if later else {min(entry.size, _32)}
    agrees = (
        (sign, flags, method) == (0x04034B50, entry.flags, 0)
        and data[begin : begin + n_name] == entry.name
        and packed in sizes
        and size in sizes
        and (crc == entry.crc or (later and crc == 0))
    )
    begin += int(n_name + n_extra)
    if not agrees or begin + entry.size > following:
        raise DamagedZip(f"its record {entry.name[-100:]!r} is another one in the directory")
    return begin


def _behind(data: mmap.mmap, entry: _Entry, begin: int, following: int) -> int:
    """Return where a record ends, with the descriptor that repeats its size and checksum."""
    end = begin + entry.size
    if entry.flags & _DESCRIPTOR and following > end:
        for form in ("<IIII", "<IIQQ"):
            if form == "<IIII" and entry.size > _32:
                continue
            descriptor = struct.pack(form, 0x08074B50, entry.crc, entry.size, entry.size)
            if following == end + len(descriptor) and data[end:following] == descriptor:
                return following
    return end


def _name(entry: _Entry) -> tuple[str, str]:
    """Split a record's name into the archive's folder and the rest."""
    try:
        name = entry.name.decode()
    except UnicodeDecodeError as error:
        raise DamagedZip(f"its record {entry.name[-100:]!r} has a name that is no text") from error
    folder, _, rest = name.partition("/")
    if "\\" in name or "\0" in name or not {"", ".", ".."}.isdisjoint([folder, *rest.split("/")]):
        raise DamagedZip(f"its record {name[-100:]!r} has a name that torch does not give")
    return folder, rest
