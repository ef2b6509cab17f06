"""Reading past HDF5's filters: what HDF5 reads, bit for bit, or its refusal."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterlens.dumps import DumpReader, DumpWriter
from filterlens.dumps.rows import fletcher32, read_rows
from filterlens.errors import DumpError


@given(st.binary(min_size=2, max_size=3000).map(lambda data: data[: len(data) // 2 * 2]))
def test_the_checksum_is_fletchers(data: bytes) -> None:
    first = second = 0
    for high, low in zip(data[::2], data[1::2], strict=True):  # as HDF5's filter reads words
        first = (first + high * 256 + low) % 65535
        second = (second + first) % 65535
    assert fletcher32(np.frombuffer(data, np.uint16)) == (first, second)


def test_the_checksum_of_large_words_does_not_overflow() -> None:
    n = (1 << 24) + 3
    words = np.full(n, 65534, np.uint16)
    assert fletcher32(words) == (-256 * n % 65535, -256 * (n * (n + 1) // 2) % 65535)


@given(
    dtype=st.sampled_from(["<f2", "<f4", "<f8", "<u2", "<i8"]),
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    rows=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_rows_are_what_hdf5_reads(dtype: str, shape: list[int], rows: int, seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, 60_000, shape).astype(dtype)
    with _memory() as file:
        dataset = file.create_dataset("a", data=data, chunks=(min(rows, shape[0]), *shape[1:]), fletcher32=True)
        found = read_rows(dataset)
        assert found is not None
        assert found.dtype == dataset.dtype
        assert found.tobytes() == np.asarray(dataset[()]).tobytes() == data.tobytes()
        assert found.shape == data.shape


def _memory() -> h5py.File:
    return h5py.File("rows.h5", "w", driver="core", backing_store=False)


def _rows(**how: object) -> dict[str, object]:
    return {"chunks": (2, 4), "fletcher32": True, **how}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"chunks": (2, 4)},
        _rows(chunks=(2, 2)),
        _rows(compression="lzf"),
        _rows(compression="gzip"),
        _rows(shuffle=True),
        _rows(dtype=">f4"),
        _rows(dtype="u1"),
    ],
    ids=str,
)
def test_what_is_stored_otherwise_is_left_to_hdf5(how: dict[str, object]) -> None:
    with _memory() as file:
        assert read_rows(file.create_dataset("a", data=np.arange(20).reshape(5, 4), **how)) is None


def test_a_chunk_that_was_never_written_is_left_to_hdf5() -> None:
    with _memory() as file:
        dataset = file.create_dataset("a", (4, 4), "f4", **_rows())
        dataset[0] = 1
        assert read_rows(dataset) is None


LARGE = (512, 64, 3, 3)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    with DumpWriter(tmp_path / "m.h5", {"model_id": "m"}) as writer:
        weight = np.random.default_rng(0).standard_normal(LARGE).astype(np.float32)
        writer.lens("filters", {}).write("conv", weight)
    return tmp_path / "m.h5"


def _read(path: Path) -> np.ndarray:
    with DumpReader(path) as reader:
        return reader.lens("filters").read("conv")


def test_a_large_array_of_a_dump_is_read_by_rows(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5py.Dataset, "__getitem__", None)
    assert np.array_equal(_read(dump), np.random.default_rng(0).standard_normal(LARGE).astype(np.float32))


@pytest.mark.parametrize("place", [0, 1000, 64 * 9 * 455 * 4 - 1])
def test_a_flipped_bit_of_a_large_array_is_refused(dump: Path, place: int) -> None:
    with h5py.File(dump) as file:
        start = file["filters/conv"].id.get_chunk_info(0).byte_offset
    data = bytearray(dump.read_bytes())
    data[start + place] ^= 16
    dump.write_bytes(data)
    with pytest.raises(DumpError, match="conv cannot be read"):
        _read(dump)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_gives_what_hdf5_reads_or_an_error(dump: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with h5py.File(dump) as file:
        dataset = file["filters/conv"].id
        chunks = [dataset.get_chunk_info(i) for i in range(dataset.get_num_chunks())]
    data = np.frombuffer(dump.read_bytes(), np.uint8).copy()
    outside = np.ones(len(data), bool)  # of the chunks: where the file says what they are
    for chunk in chunks:
        outside[chunk.byte_offset : chunk.byte_offset + chunk.size] = False
    data[rng.choice(np.flatnonzero(outside), 2)] ^= np.uint8(1) << rng.integers(0, 8, 2, np.uint8)
    dump.write_bytes(data.tobytes())
    try:
        found = _read(dump)
    except DumpError:
        return
    with h5py.File(dump) as file:
        expected = file["filters/conv"][()]
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()
