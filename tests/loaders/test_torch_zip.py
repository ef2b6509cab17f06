"""Zip archives whose two readings differ, or that torch did not write: refused, and nothing of them runs."""

from __future__ import annotations

import functools
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loaders.conftest import Load
from torch import Tensor, nn

from filterlens.errors import CheckpointError, UnsafeCheckpointError

WEIGHTS = {"conv.weight": torch.arange(54.0).reshape(2, 3, 3, 3)}


def _saved(content: object = WEIGHTS) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Split an archive into its records, its directory and its end records."""
    size, offset = struct.unpack("<II", data[-10:-2])
    return data[:offset], data[offset : offset + size], data[offset + size :]


def _zipped(data: bytes) -> bytes:
    """Write the same records as Python does, without zip64 and descriptors."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return file.getvalue()


@functools.cache
def _program() -> bytes:
    """Save a TorchScript program that writes a file `witness` when it is loaded."""
    module = torch.jit.ScriptModule()
    module.define("""
def __getstate__(self) -> int:
    return 0
def __setstate__(self, state: int) -> None:
    self.training = torch.from_file("witness", True, 4).numel() == 5
def forward(self, x: Tensor) -> Tensor:
    return x
""")
    file = io.BytesIO()
    torch.jit.save(module, file)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("layout", ["torch", "python"])
def test_a_second_directory_hides_no_program(
    layout: str, tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    witness = tmp_path / "witness"
    program = _program()
    if layout == "python":
        program = _zipped(program)
    records, directory, end = _parts(program)
    assert b"constants.pkl" in directory
    decoy = directory.replace(b"constants.pkl", b"constantz.pkl")
    (tmp_path / "m.pt").write_bytes(records + directory + decoy + end)
    with pytest.raises(CheckpointError, match=r"m\.pt is a damaged zip file"):
        load("m.pt")
    with pytest.raises(CheckpointError, match=r"m\.pt is a damaged zip file"):
        load("m.pt", trust_pickle=True)
    assert not witness.exists()
    # it is one that would have run
    torch.jit.load(io.BytesIO(program))
    assert witness.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("spelling", ["constants.pkl", "CONSTANTS.pkl", "data/constants.pkl", "code/x.py"])
def test_a_program_is_refused_whatever_is_trusted(spelling: str, trust: bool, tmp_path: Path, load: Load) -> None:
    _write(tmp_path / "m.pt", {"m/data.pkl": b"N.", f"m/{spelling}": b"N."})
    with pytest.raises(UnsafeCheckpointError, match="TorchScript program"):
        load("m.pt", trust_pickle=trust)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("trust", [False, True])
def test_a_program_whose_code_torch_compresses_is_no_damaged_file(trust: bool, tmp_path: Path, load: Load) -> None:
    torch.jit.save(torch.jit.trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.ones(1, 2)), tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        assert any(record.compress_type for record in archive.infolist())
    with pytest.raises(UnsafeCheckpointError, match=r"TorchScript program.*state_dict\(\)` and give that file"):
        load("m.pt", trust_pickle=trust)


def _write(path: Path, records: dict[str, bytes], **options: Any) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def _with_end(data: bytes, **fields: int) -> bytes:
    names = ("signature", "disk", "first", "here", "count", "size", "offset", "comment")
    values = dict(zip(names, struct.unpack("<IHHHHIIH", data[-22:]), strict=True))
    return data[:-22] + struct.pack("<IHHHHIIH", *(values | fields).values())


def _local_name(data: bytes) -> bytes:
    return data.replace(b"archive/data.pkl", b"archive/datb.pkl", 1)


def _central(data: bytes, offset: int, value: bytes) -> bytes:
    """Change bytes of the directory's first entry."""
    start = len(_parts(data)[0]) + offset
    return data[:start] + value + data[start + len(value) :]


def _local(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def _twice(data: bytes) -> bytes:
    """List the first record twice."""
    records, directory, _ = _parts(data)
    entry = directory[: 46 + struct.unpack("<H", directory[28:30])[0]]
    count = struct.unpack("<H", data[-12:-10])[0] + 1
    return _with_end(records + entry + directory + data[-22:], here=count, count=count, size=len(entry + directory))


def _inserted(data: bytes) -> bytes:
    """Put bytes between the records and the directory, and tell the end record of them."""
    records, directory, end = _parts(data)
    return _with_end(records + bytes(8) + directory + end, offset=len(records) + 8)


def _zip64(data: bytes, **fields: int) -> bytes:
    """Put zip64 end records before the end record, as archives of more than 4 GB have them."""
    records, directory, _ = _parts(data)
    count = struct.unpack("<H", data[-12:-10])[0]
    values = {"count": count, "size": len(directory), "offset": len(records)} | fields
    start = len(records) + len(directory)
    wide = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, *values.values())
    locator = struct.pack("<IIQI", 0x07064B50, 0, start, 1)
    return _with_end(
        data[:start] + wide + locator + data[-22:], count=0xFFFF, here=0xFFFF, size=0xFFFFFFFF, offset=0xFFFFFFFF
    )


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "bytes before": lambda data: b"#!/bin/sh\n" + data,
    "an archive before": lambda data: _saved({"other": torch.ones(2, 2)}) + data,
    "bytes behind": lambda data: data + b"\0",
    "an archive behind": lambda data: data + _saved({"other": torch.ones(2, 2)}),
    "a comment with an end record": lambda data: _with_end(data, comment=22) + data[-22:],
    "a comment": lambda data: _with_end(data, comment=3) + b"abc",
    "an end record of another size": lambda data: _with_end(data, size=46),
    "an end record of another place": lambda data: _with_end(data, offset=0),
    "an end record of another count": lambda data: _with_end(data, count=2, here=2),
    "an end record without entries": lambda data: _with_end(data, count=0, here=0, size=0),
    "several disks": lambda data: _with_end(data, disk=1),
    "a name that differs": _local_name,
    "a record twice": _twice,
    "bytes between records and directory": _inserted,
    "a central size that lies": lambda data: _central(data, 24, b"\xff\xff\xff\x0f"),
    "a central offset that lies": lambda data: _central(data, 42, b"\x01\0\0\0"),
    "a central method": lambda data: _central(data, 10, b"\x08\0"),
    "a local method": lambda data: _local(data, 8, b"\x08\0"),
    "an encrypted record": lambda data: _central(_local(data, 6, b"\x09\x08"), 8, b"\x09\x08"),
    "a local size that lies": lambda data: _local(data, 18, b"\x01\0\0\0\x01\0\0\0"),
    "a local extra field behind the end": lambda data: _local(data, 28, b"\xff\xff"),
    "a symbolic link": lambda data: _central(data, 38, struct.pack("<I", 0o120777 << 16)),
    "a zip64 record that counts otherwise": lambda data: _zip64(data, count=1),
    "a zip64 record that points elsewhere": lambda data: _zip64(data, offset=0),
    "a zip64 size of an exabyte": lambda data: _zip64(data, size=1 << 60),
    "a zip64 count of an exabyte": lambda data: _zip64(data, count=1 << 60),
}


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("layout", [bytes, _zipped], ids=["torch", "python"])
@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_that_can_be_read_in_two_ways_is_refused(
    name: str, layout: Callable[[bytes], bytes], trust: bool, tmp_path: Path, load: Load
) -> None:
    (tmp_path / "m.pt").write_bytes(HOSTILE[name](layout(_saved())))
    with pytest.raises(CheckpointError, match=r"damaged zip file|no checkpoint that can be read"):
        load("m.pt", trust_pickle=trust)


@pytest.mark.parametrize(
    "name",
    ["m/../data.pkl", "m//data/0", "/m/x", "m\\x", "m/..", "../x", "m/a\0b", "other/x", "m", "m/DATA.pkl", "m/x/"],
)
def test_names_that_torch_does_not_give_are_refused(name: str, tmp_path: Path, load: Load) -> None:
    _write(tmp_path / "m.pt", {"m/data.pkl": b"N.", "m/version": b"3\n", "m/placeholder-of-it": b""})
    data = (tmp_path / "m.pt").read_bytes()
    old = b"m/placeholder-of-it"
    (tmp_path / "m.pt").write_bytes(_renamed(data, old, name.encode()))
    with pytest.raises(CheckpointError, match=r"damaged zip file|torch\.save did not write it"):
        load("m.pt")


def _renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """Rename the last record, here and in the directory."""
    records, directory, _ = _parts(data)
    start = records.rindex(old) - 30
    local = records[start : start + 26] + struct.pack("<H", len(new)) + records[start + 28 : start + 30] + new
    entry = directory.rindex(old) - 46
    head = directory[entry : entry + 28] + struct.pack("<H", len(new)) + directory[entry + 30 : entry + 46] + new
    records, directory = records[:start] + local, directory[:entry] + head
    return _with_end(records + directory + data[-22:], offset=len(records), size=len(directory))


def test_the_control_of_these_tests_is_read(tmp_path: Path, load: Load) -> None:
    for data in (_saved(), _zip64(_saved()), _zipped(_saved()), _zip64(_zipped(_saved()))):
        (tmp_path / "m.pt").write_bytes(data)
        assert torch.equal(load("m.pt").weights["conv.weight"], WEIGHTS["conv.weight"])
    _write(tmp_path / "m.pt", {"m/data.pkl": b"N.", "m/version": b"3\n", "m/placeholder-of-it": b""})
    data = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(_renamed(data, b"m/placeholder-of-it", b"m/placeholder"))
    with pytest.raises(CheckpointError, match="holds no weights"):
        load("m.pt")


def test_tensors_that_share_a_storage_still_do(tmp_path: Path, load: Load) -> None:
    base = torch.arange(24.0)
    torch.save({"a.weight": base.view(4, 6), "b.weight": base[6:18].view(3, 4).t()}, tmp_path / "m.pt")
    weights = load("m.pt").weights
    assert torch.equal(weights["b.weight"], base[6:18].view(3, 4).t())
    weights["a.weight"][1, 0] = -1
    assert weights["b.weight"][0, 0] == -1
    assert torch.equal(load("m.pt").weights["a.weight"], base.view(4, 6))  # what is written stays in memory


def test_a_big_endian_archive_is_turned_round(tmp_path: Path, load: Load) -> None:
    swapped = {name: _swapped(value) for name, value in WEIGHTS.items()}
    with zipfile.ZipFile(io.BytesIO(_saved(swapped))) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    _write(tmp_path / "m.pt", records | {"archive/byteorder": b"big"})
    assert torch.equal(load("m.pt").weights["conv.weight"], WEIGHTS["conv.weight"])
    assert torch.equal(torch.load(tmp_path / "m.pt")["conv.weight"], WEIGHTS["conv.weight"])
    _write(tmp_path / "m.pt", records | {"archive/byteorder": b"middle"})
    with pytest.raises(CheckpointError, match="byte order"):
        load("m.pt")


def _swapped(value: Tensor) -> Tensor:
    return torch.from_numpy(value.numpy().byteswap().copy())


def test_a_whole_network_is_still_trusted(tmp_path: Path, load: Load) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3)), tmp_path / "m.pt")
    assert load("m.pt", trust_pickle=True).classifier is not None
