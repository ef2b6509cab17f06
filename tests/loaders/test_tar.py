"""Headers of tar archives: read as tarfile reads healthy ones, within a budget where they are hostile."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

import pytest
import torch
from loaders.conftest import Load

from filterlens.errors import CheckpointError
from filterlens.loaders.tar import members


def _checkpoint() -> bytes:
    file = io.BytesIO()
    torch.save({"conv.weight": torch.ones(1, 1, 3, 3)}, file)
    return file.getvalue()


def _header(name: bytes, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name.decode())
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _member(name: bytes, kind: bytes, content: bytes) -> bytes:
    return _header(name, kind, len(content)) + content + bytes(-len(content) % 512)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["m.pt", "epoch=1 " + "d" * 60 + "/" + "x" * 90 + ".ckpt", "mödell.pt"])
def test_every_form_is_read_as_tarfile_reads_it(form: int, name: str) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for number, member in enumerate(["folder", name, "readme.txt"]):
            info = tarfile.TarInfo(member)
            info.size = 700 * number
            info.type = tarfile.DIRTYPE if member == "folder" else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO(bytes(700 * number)))
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as archive:
        expected = [(info.name, info.offset_data, info.size, info.isreg()) for info in archive]
    found = [(m.name.rstrip("/"), m.offset, m.size, m.is_file) for m in members(file, len(file.getvalue()))]
    assert found == expected


HOSTILE = {
    "a header of spaces and digits": (_member(b"h", b"x", b"1 " * 30_000), "extended header"),
    "a header of digits": (_member(b"h", b"x", b"1" * 60_000), "extended header"),
    "a header of megabytes": (_member(b"h", b"x", b"20 comment=abcdefgh\n" * 50_000), "longer than"),
    "a global header of megabytes": (_member(b"h", b"g", b"20 comment=abcdefgh\n" * 50_000), "longer than"),
    "a size of an exabyte": (_member(b"h", b"x", b"30 size=1152921504606846976777\n"), "extended header|declares more"),
    "a negative size": (_member(b"h", b"x", b"11 size=-1\n"), "extended header"),
    "a record of no length": (_member(b"h", b"x", b"0 a=b\n"), "extended header"),
    "a long name of megabytes": (_member(b"h", b"L", b"a" * 1_000_000), "longer than"),
    "a sparse file": (_member(b"m.pt", b"S", b""), "sparse file"),
    "a sparse file of PAX": (_member(b"h", b"x", b"22 GNU.sparse.major=1\n"), "sparse file"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_end_in_one_line_and_at_once(name: str, tmp_path: Path, load: Load) -> None:
    data, message = HOSTILE[name]
    (tmp_path / "m.tar").write_bytes(data + _member(b"m.pt", b"0", _checkpoint()) + bytes(1024))
    start = time.process_time()
    with pytest.raises(CheckpointError, match=rf"m\.tar cannot be unpacked \(.*({message})"):
        load("m.tar")
    assert time.process_time() - start < 2


def test_the_control_of_these_tests_is_read(tmp_path: Path, load: Load) -> None:
    extended = _member(b"h", b"x", b"20 comment=abcdefgh\n")
    (tmp_path / "m.tar").write_bytes(extended + _member(b"m.pt", b"0", _checkpoint()) + bytes(1024))
    assert list(load("m.tar").weights) == ["conv.weight"]


def test_archives_in_archives_are_not_followed(tmp_path: Path, load: Load) -> None:
    inner = _member(b"m.pt", b"0", _checkpoint()) + bytes(1024)
    for _ in range(30):
        inner = _member(b"m.pt", b"0", inner) + bytes(1024)
    (tmp_path / "m.tar").write_bytes(inner)
    with pytest.raises(CheckpointError, match="an archive in an archive"):
        load("m.tar")


def test_a_flood_of_members_is_refused(tmp_path: Path, load: Load) -> None:
    (tmp_path / "m.tar").write_bytes(_header(b"a", b"0", 0) * 30_001)
    with pytest.raises(CheckpointError, match="more than 30000 headers"):
        load("m.tar")
