"""Files of others are walked in a process that can be ended; what has passed neither hangs nor fills the memory."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from filterlens.dumps import SCHEMA, DumpReader, DumpWriter
from filterlens.dumps.hdf5_check import check_hdf5
from filterlens.errors import DumpError
from filterlens.process.isolated import IsolatedCheck

HANGS = (2849, 3041, 3425, 3809, 4641)  # bits of `write`'s file at which libhdf5 never came back


def write(path: Path) -> Path:
    rng = np.random.default_rng(0)
    with DumpWriter(path, {"model_id": "m", "source": "x.pt", "sha256": "ab" * 32, "catalog_row": "{}"}) as writer:
        group = writer.lens("filters", {"kernel": "3x3"})
        for i in range(3):
            group.write(f"conv{i}", rng.normal(size=(4, 3, 3, 3)).astype("f4"), conv_depth=i, stride=np.array([1, 1]))
        writer.lens("manifold", {}).write("z", np.zeros((50, 50), "f4"), compression="gzip")
        stream = writer.lens("downsampling", {}).stream("x", (4, 8, 8), "f2")
        stream[:] = rng.normal(size=(4, 8, 8))
    return path


def read_all(path: Path) -> None:
    with DumpReader(path) as reader:
        for lens in reader.lenses:
            group = reader.lens(lens)
            assert group.parameters is not None
            for name in group.names():
                group.attributes_of(name)
                group.read(name)


def bomb(path: Path, **options: Any) -> h5py.File:
    file = h5py.File(path, "w", **options)
    file.attrs["schema"] = SCHEMA
    return file


def test_a_sound_dump_passes_and_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sent.h5"
    path.write_bytes(write(tmp_path / "m.h5").read_bytes())
    check_hdf5(path)
    monkeypatch.setattr(IsolatedCheck, "_ask", lambda *_: "walked again")
    check_hdf5(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DumpError, match="walked again"):
        check_hdf5(path)


def test_a_dump_that_this_process_wrote_is_not_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IsolatedCheck, "_ask", lambda *_: "walked")
    read_all(write(tmp_path / "m.h5"))


def test_any_flipped_bit_is_read_or_refused_in_bounded_time(tmp_path: Path) -> None:
    content = write(tmp_path / "m.h5").read_bytes()
    path, rng = tmp_path / "flipped.h5", random.Random(0)
    refused = 0
    signal.alarm(120)
    try:
        for bit in [rng.randrange(8 * len(content)) for _ in range(40)]:
            found = bytearray(content)
            found[bit // 8] ^= 1 << bit % 8
            path.write_bytes(found)
            try:
                read_all(path)
            except DumpError:
                refused += 1
    finally:
        signal.alarm(0)
    assert 3 < refused < 37


def test_metadata_on_which_libhdf5_never_returns_end_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filterlens.process.isolated._SECONDS", 0.5)
    content = write(tmp_path / "m.h5").read_bytes()
    said = []
    for bit in HANGS:
        found = bytearray(content)
        found[bit // 8] ^= 1 << bit % 8
        (tmp_path / "hangs.h5").write_bytes(found)
        try:
            read_all(tmp_path / "hangs.h5")
        except DumpError as error:
            said.append(str(error))
            if "libhdf5 crashes on it, or takes longer than for any sound file" in said[-1]:
                break
    assert "libhdf5 crashes on it, or takes longer than for any sound file" in said[-1]
    read_all(write(tmp_path / "next.h5"))
    check_hdf5(write(tmp_path / "other.h5"))


def test_declared_sizes_are_added_up_over_all_arrays(tmp_path: Path) -> None:
    with bomb(tmp_path / "m.h5") as file:
        for i in range(6):
            data = np.zeros(1 << 24, "u1")
            file.create_dataset(f"filters/{i}", data=data, chunks=data.shape, compression="gzip")
    with pytest.raises(DumpError, match="declare more than 100 times their file's"):
        DumpReader(tmp_path / "m.h5")


def test_a_chunk_that_unpacks_to_more_than_it_declares_is_refused(tmp_path: Path) -> None:
    with bomb(tmp_path / "m.h5") as file:
        data = file.create_dataset("filters/a", shape=(1024,), dtype="u1", chunks=(1024,), compression="gzip")
        data.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 26)))
    with pytest.raises(DumpError, match=r"has a chunk of \d+ bytes that does not unpack to 1024"):
        DumpReader(tmp_path / "m.h5")


@pytest.mark.parametrize("stored", [b"", b"x", bytes(1023), bytes(1025)])
def test_a_chunk_shorter_or_longer_than_its_array_needs_is_refused(tmp_path: Path, stored: bytes) -> None:
    with bomb(tmp_path / "m.h5") as file:
        data = file.create_dataset("filters/a", shape=(1024,), dtype="u1", chunks=(1024,), shuffle=True)
        data.id.write_direct_chunk((0,), stored or b"\0")
    with pytest.raises(DumpError, match="does not unpack to 1024"):
        DumpReader(tmp_path / "m.h5")


def test_second_names_and_deep_groups_are_refused(tmp_path: Path) -> None:
    with bomb(tmp_path / "twice.h5") as file:
        file.create_group("filters/a")
        file["filters/a/up"] = file["filters"]
    with pytest.raises(DumpError, match="is a second name of another object"):
        DumpReader(tmp_path / "twice.h5")
    with bomb(tmp_path / "deep.h5") as file:
        file.create_group("/".join("g" * 100))
    with pytest.raises(DumpError, match="more than 32 groups deep"):
        DumpReader(tmp_path / "deep.h5")


@pytest.mark.parametrize("cells", [False, True])
def test_pandas_cells_pass_where_they_are_asked_for_only(tmp_path: Path, *, cells: bool) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        data = file.create_dataset("block", shape=(1,), dtype=h5py.vlen_dtype(np.uint8))
        data[0] = np.arange(9, dtype=np.uint8)
        file.create_dataset("names", data=np.array([b"a", b"bc"]))
    if cells:
        check_hdf5(tmp_path / "t.h5", cells=True)
        return
    with pytest.raises(DumpError, match="dumps hold plain numbers only"):
        check_hdf5(tmp_path / "t.h5")


def test_the_process_that_walks_imports_nothing_from_the_working_folder_and_ends_with_its_parent(
    tmp_path: Path,
) -> None:
    write(tmp_path / "m.h5")
    for name in ("h5py", "numpy", "json", "zlib"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    code = (
        "import os, signal; from pathlib import Path; from filterlens.dumps.hdf5_check import _check, check_hdf5\n"
        f"os.chdir({str(tmp_path)!r}); check_hdf5(Path('m.h5')); print(_check._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not (tmp_path / "ran").exists()
    pid, until = int(done.stdout), time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until and _state(pid) != "Z":
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists() or _state(pid) == "Z"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"
