"""Data sets that were made to run code, to take time or memory, or to write elsewhere: one line each, nothing more."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from filterlens.catalogs import Entry
from filterlens.errors import CheckpointError, UnsafeCheckpointError
from filterlens.filterdb.cells import unpickle_cells
from filterlens.filterdb.database import FilterDatabase
from filterlens.filterdb.frames import write_frame
from filterlens.filterdb.importing import database_catalog
from filterlens.loaders.filterdb import load
from filterlens.loaders.registry import Request

RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
OBJECTS = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R"


def pickled(cells: bytes, shape: bytes = b"K\x01K\x01\x86", dtype: bytes = OBJECTS) -> bytes:
    """Write the pickle of an array whose cells are what a piece of a pickle puts on the stack."""
    return b"\x80\x04" + RECONSTRUCT + b"(K\x01" + shape + dtype + b"\x89" + cells + b"tb."


def replace_cells(path: Path, data: bytes) -> None:
    with h5py.File(path, "a") as file:
        file["meta/block3_values"][0] = np.frombuffer(data, dtype=np.uint8)


def rename(published: Path, meta: pd.DataFrame, names: list[object]) -> None:
    """Give the three models other names."""
    numbers = meta.index.get_level_values("model_id")
    with h5py.File(published, "a") as file:
        del file["meta"]
        model = pd.Series([names[number] for number in numbers], meta.index, object)
        write_frame(file, "meta", meta.assign(model=model))


def test_an_array_of_one_cell_is_read() -> None:
    assert unpickle_cells(pickled(b"](K\x07e"), (1, 1), "here").tolist() == [[7]]


NESTED = b"](K\x01" + b"K\x02\x86" * 100_000 + b"e"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickled(b"](K\x01" + b"\x85" * 900 + b"e"), "row 0, column 0 holds a tuple"),
        (pickled(NESTED), "it makes more than 1008 objects"),
        (pickled(b"]q\x00(h\x00e"), "row 0, column 0 holds a list"),  # a list that holds itself
        (pickled(b"](}q\x00X\x01\x00\x00\x00ah\x00se"), "row 0, column 0 holds a dict"),
        (pickled(b"](C\x01ae"), "row 0, column 0 holds a bytes"),
        (pickled(b"](K\x01e", shape=b"K\x02K\x01\x86"), "no table of 1 x 1 cells"),
        (pickled(b"](K\x01e", shape=b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86"), "its array is no table"),
        (pickled(b"](K\x01e", shape=b"\x88\x88\x86"), "its array is no table"),
        (pickled(b"](K\x01e", dtype=b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R"), "none of Python objects"),
        (pickled(b"C\x08\x00\x00\x00\x00\x00\x00\x00\x00"), "no shape and cells"),
        (b"\x80\x04(K\x01" + b"(" * 100_000 + b".", "cannot be read"),
        (b"\x80\x04K\x01.", "no table of 1 x 1 cells"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "cannot be read"),
        (pickled(b"](\x8b" + (1 << 24).to_bytes(4, "little") + b"\x01" * (1 << 24) + b"e"), "cannot be read"),
        (pickled(b"](cbuiltins\nrange\nK\x00K\x0aK\x02\x87Re"), "a range of filter ids has no first and last"),
        (pickled(b"](cbuiltins\nrange\nX\x01\x00\x00\x00aX\x01\x00\x00\x00b\x86Re"), "a range of filter ids has no"),
    ],
)
def test_what_is_no_table_of_cells_is_refused_at_once(data: bytes, said: str) -> None:
    started = time.process_time()
    with pytest.raises(CheckpointError, match=said) as caught:
        unpickle_cells(data, (1, 1), "here")
    assert time.process_time() - started < 3
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_cell_whose_text_would_explode_is_not_printed() -> None:
    """Forty levels of a list that holds the one below twice: its text has 2 ** 40 parts."""
    levels = b"]q\x000" + b"".join(b"]q%c(h%ch%ce0" % (n + 1, n, n) for n in range(40))
    with pytest.raises(CheckpointError, match="row 0, column 0 holds a list"):
        unpickle_cells(pickled(levels + b"]h\x28a"), (1, 1), "here")


def test_a_list_that_many_cells_share_is_not_read_again_and_again() -> None:
    ids = pickle.dumps(list(range(20_000)), 2)[2:-1]
    cells = b"](" + ids + b"q\x7f" + b"h\x7f" * 9_999 + b"e"
    started = time.process_time()
    with pytest.raises(CheckpointError, match="column 0 holds a list"):
        unpickle_cells(pickled(cells, shape=b"M\x10\x27K\x01\x86"), (10_000, 1), "here")
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "name", [b"numpy.core.multiarray\nscalar", b"posix\nsystem", b"numpy\nload", b"pandas\nread_pickle"]
)
def test_a_name_that_no_table_needs_is_refused_even_where_nothing_calls_it(published: Path, name: bytes) -> None:
    replace_cells(published, pickled(b"](c" + name + b"\n0K\x01e"))
    with pytest.raises(UnsafeCheckpointError, match="it was not run, and the file is not read"):
        FilterDatabase(published)


@pytest.mark.parametrize("chunks", [None, (1 << 16, 3, 3)])
@pytest.mark.parametrize("n", [1 << 31, 200_000])
def test_filters_that_were_never_written_take_no_memory(
    published: Path, meta: pd.DataFrame, chunks: tuple[int, ...] | None, n: int
) -> None:
    with h5py.File(published, "a") as file:
        del file["filters"], file["meta"]
        file.create_dataset("filters", shape=(n, 3, 3), dtype="f4", chunks=chunks)
        one = meta.iloc[:1].assign(filter_ids=f"0:{n - 1}", in_channels=1, out_channels=n)
        write_frame(file, "meta", one)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="declares"):
        FilterDatabase(published)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_a_chunk_that_was_never_written_is_missed(published: Path) -> None:
    with h5py.File(published, "a") as file:
        values = file["filters"][()]
        del file["filters"]
        file.create_dataset("filters", shape=values.shape, dtype="f4", chunks=(100, 3, 3))[:100] = values[:100]
    with pytest.raises(CheckpointError, match="only 1 of its 2 parts were ever written: the file is not whole"):
        FilterDatabase(published)


@pytest.mark.parametrize(
    "ids",
    ["0", "0:", ":3", "0:1:2", "-1:11", "5:2", "0:" + "9" * 30, "9" * 5000 + ":" + "9" * 5000, "٠:١١", "0x0:0xb", "",
     "0:11\x00", "0:11 " * 1_000_000, 11, 1.5, True, None],
)  # fmt: skip
def test_filter_ids_that_are_no_range_name_their_row(published: Path, meta: pd.DataFrame, ids: object) -> None:
    values = [ids, *meta["filter_ids"][1:]]
    with h5py.File(published, "a") as file:
        del file["meta"]
        write_frame(file, "meta", meta.assign(filter_ids=pd.Series(values, meta.index, object)))
    with pytest.raises(CheckpointError, match=r"dataset\.h5:/meta: row 0 \(Wang2020.*filter_ids") as caught:
        FilterDatabase(published)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../../escape", "points out of its folder"),
        ("..", "points out of its folder"),
        ("a\\..\\b", "points out of its folder"),
        ("nul\0l", "holds characters that cannot be shown"),
        ("\x1b]0;x\x07", r"'\\x1b\]0;x\\x07', which holds characters that cannot be shown"),
        ("a\u202eb", "holds characters that cannot be shown"),
        ("line\nbreak", "holds characters that cannot be shown"),
        ("x" * 10_000, "has 10000 characters; at most 250 are read"),
        ("", "is no text"),
        (" ", "is no text"),
        (None, "is no text"),
        (7, "is no text"),
        (float("nan"), "is no text"),
    ],
)
def test_names_that_no_catalog_takes_are_refused_with_file_and_row(
    published: Path, meta: pd.DataFrame, name: object, said: str
) -> None:
    rename(published, meta, ["fine", name, "also fine"])
    with pytest.raises(CheckpointError, match=said) as caught:
        database_catalog(published)
    assert f"{published}:/meta: row 4" in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_a_name_with_folders_stays_within_the_run(published: Path, meta: pd.DataFrame) -> None:
    rename(published, meta, ["/etc/passwd", "a/b", "C:\\x"])
    stems = [entry.file_stem for entry in database_catalog(published)]
    assert not any(set("/\\:") & set(stem) for stem in stems)


def test_names_that_differ_by_case_are_told_apart(published: Path, meta: pd.DataFrame) -> None:
    rename(published, meta, ["Net", "net", "NET"])
    assert [entry.model_id for entry in database_catalog(published)] == ["Net-0", "net-1", "NET-2"]
    rename(published, meta, ["Net", "net", "net-0"])
    with pytest.raises(CheckpointError, match="'Net-0' and 'net-0' would share a file name"):
        database_catalog(published)


def test_facts_that_no_catalog_takes_are_refused(published: Path, meta: pd.DataFrame) -> None:
    with h5py.File(published, "a") as file:
        del file["meta"]
        write_frame(file, "meta", meta.assign(Paper=pd.Series(["x" * 10_000] * len(meta), meta.index, object)))
    with pytest.raises(
        CheckpointError, match=r"row 0 \(Wang2020.* has the Paper 'xxx.*, which is no text of a catalog"
    ):
        database_catalog(published)


def test_rows_that_do_not_agree_on_a_name_are_named(published: Path, meta: pd.DataFrame) -> None:
    names = ["other", *meta["model"][1:]]
    with h5py.File(published, "a") as file:
        del file["meta"]
        write_frame(file, "meta", meta.assign(model=pd.Series(names, meta.index, object)))
    with pytest.raises(CheckpointError, match=r"row 1 \(Wang2020.*\) and row 0 do not agree on the name of model 0"):
        FilterDatabase(published)


def test_attributes_that_are_pickles_stay_bytes(published: Path, tmp_path: Path) -> None:
    """PyTables unpickles attributes of groups; nothing here does."""
    payload = b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "canary").encode()
    with h5py.File(published, "a") as file:
        for item in (file, file["meta"], file["meta/axis1_level0"], file["meta/block3_values"]):
            item.attrs["info"] = np.bytes_(payload)
        file["meta"].attrs["metadata"] = np.bytes_(payload)
    with FilterDatabase(published) as database:
        assert len(database.models) == 3
    assert not (tmp_path / "canary").exists()


def lie(change: str) -> Callable[[h5py.Group], None]:
    def apply(meta: h5py.Group) -> None:
        if change == "negative labels":
            meta["axis1_label0"][0] = -1
        elif change == "levels of text":
            names = {key: value for key, value in meta["axis1_level0"].attrs.items() if key == "name"}
            del meta["axis1_level0"]
            meta["axis1_level0"] = np.array([b"a", b"b", b"c"])
            meta["axis1_level0"].attrs.update(names)
        elif change == "more items than columns":
            del meta["block0_items"]
            meta["block0_items"] = np.array([b"a"] * 99)
        elif change == "a level too few":
            meta.attrs["axis1_nlevels"] = np.int64(9)
        elif change == "negative blocks":
            meta.attrs["nblocks"] = np.int64(-1)
        elif change == "labels of other lengths":
            del meta["axis1_label1"]
            meta["axis1_label1"] = np.zeros(3, dtype="i1")

    return apply


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("negative labels", "labels that point nowhere"),
        ("levels of text", "level 0 of its index is of"),
        ("more items than columns", r"block0_values has shape"),
        ("a level too few", "axis1_level4 is missing"),
        ("negative blocks", "does not say of how many parts"),
        ("labels of other lengths", "no index of several levels"),
    ],
)
def test_frames_that_contradict_themselves_are_refused(published: Path, change: str, said: str) -> None:
    with h5py.File(published, "a") as file:
        lie(change)(file["meta"])
    with pytest.raises(CheckpointError, match=said):
        FilterDatabase(published)


@pytest.mark.parametrize(
    "rest", ["dataset.h5#" + "9" * 5000, "dataset.h5#-1", "dataset.h5#", "#0", "dataset.h5\0#0", "..#0"]
)
def test_sources_that_name_no_model_are_refused(published: Path, rest: str) -> None:
    with pytest.raises(CheckpointError, match=r"names no model|cannot be read|there is no file"):
        load(Request(Entry(model_id="a", source="filterdb:x"), rest, published.parent))


FUZZ = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from pathlib import Path
import numpy as np
from filterlens.errors import FilterlensError
from filterlens.filterdb.database import FilterDatabase
from filterlens.filterdb.importing import database_catalog
source, folder, seed, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
whole, random, read, slowest = source.read_bytes(), np.random.default_rng(seed), 0, 0.0
pickles = whole.index(b"_reconstruct")
for case in range(count):
    data = bytearray(whole)
    low, high = ((0, 8192), (0, len(data)), (pickles - 50, pickles + 3000))[case % 3]
    for _ in range(int(random.integers(1, 5))):
        place = int(random.integers(low, min(high, len(data))))
        kind = random.integers(4)
        if kind == 0: data[place] ^= 1 << int(random.integers(8))
        elif kind == 1: data[place] = int(random.integers(256))
        elif kind == 2: data[place : place + 8] = bytes(random.integers(0, 256, 8, dtype=np.uint8))
        else: data[place : place + 8] = random.choice([b"\\xff" * 8, bytes(8), b"\\xff" * 7 + b"\\x7f"])
    path = folder / "fuzz.h5"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    started = time.process_time()
    try:
        database_catalog(path)
        with FilterDatabase(path) as database:
            for model in database.models:
                for layer in model.layers:
                    database.weight(layer)
        read += 1
    except FilterlensError as error:
        assert len(str(error)) < 1500 and "\\n" not in str(error), error
    slowest = max(slowest, time.process_time() - started)
peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
print(read, round(slowest, 2), int(peak.split()[1]) >> 10)  # getrusage would know the parent's peak
"""


def fuzz(published: Path, folder: Path, *, seed: int, count: int, seconds: float) -> tuple[int, float, int]:
    """Read so many damaged copies in a child process; return how many were read all the same, seconds and megabytes."""
    words = [sys.executable, "-c", FUZZ, str(published), str(folder), str(seed), str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, done.stderr[-3000:]
    read, slowest, megabytes = done.stdout.split()
    return int(read), float(slowest), int(megabytes)


def test_damaged_copies_end_in_one_line_within_time_and_memory(published: Path, tmp_path: Path) -> None:
    read, slowest, megabytes = fuzz(published, tmp_path, seed=0, count=60, seconds=200)
    assert 0 < read < 60
    assert slowest < 5
    assert megabytes < 1000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_damaged_copies_end_in_one_line_within_time_and_memory(published: Path, tmp_path: Path) -> None:
    count = int(os.environ.get("FILTERLENS_FUZZ", "600"))
    read, slowest, megabytes = fuzz(published, tmp_path, seed=1, count=count, seconds=3600)
    assert 0 < read < count
    assert slowest < 5
    assert megabytes < 1000
