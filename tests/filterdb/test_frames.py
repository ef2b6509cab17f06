"""Tables in pandas' fixed format: what pandas wrote is read, and pandas reads what is written."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterlens.errors import CheckpointError, FilterlensError
from filterlens.filterdb.frames import read_frame, write_frame


def read_hdf(path: Path, key: str) -> pd.DataFrame:
    found = pd.read_hdf(path, key)
    assert isinstance(found, pd.DataFrame)
    return found


def test_a_table_of_pandas_1_is_read_as_pandas_reads_it(published: Path) -> None:
    pytest.importorskip("tables", reason="PyTables is the oracle")
    for key in ("meta", "meta_sparsity"):
        with h5py.File(published) as file:
            ours = read_frame(file[key], key)
        pd.testing.assert_frame_equal(ours, read_hdf(published, key), check_dtype=False)


def test_types_of_columns_are_kept(meta: pd.DataFrame) -> None:
    assert str(meta["layer_depth"].dtype) == "int32"
    assert str(meta["in_channels"].dtype) == "int64"
    assert str(meta["Clean Accuracy"].dtype) == "float64"
    assert meta["Robust"].tolist()[:4] == [True] * 4
    assert meta["Robust"].isna().sum() == 1
    assert meta.index.names == ["model_id", "conv_depth", "conv_depth_norm", "layer_id"]


@pytest.mark.parametrize("key", ["meta", "meta_sparsity"])
def test_pandas_reads_what_is_written(published: Path, tmp_path: Path, key: str) -> None:
    pytest.importorskip("tables", reason="PyTables is the oracle")
    with h5py.File(published) as file:
        frame = read_frame(file[key], key)
    with h5py.File(tmp_path / "ours.h5", "w") as file:
        write_frame(file, key, frame)
    pd.testing.assert_frame_equal(read_hdf(tmp_path / "ours.h5", key), read_hdf(published, key))


def test_a_table_that_the_installed_pandas_writes_is_read(tmp_path: Path) -> None:
    pytest.importorskip("tables", reason="PyTables writes the file")
    index = pd.MultiIndex.from_tuples([(0, 0, 0.0), (0, 1, 1.0), (3, 0, 0.0)], names=["model_id", "conv_depth", "norm"])
    columns = {"n": [1, 2, 3], "x": [0.5, np.nan, 2.0], "word": np.array(["a", None, "ü"], dtype=object)}
    frame = pd.DataFrame(columns, index=index).astype({"word": object})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it pickles, and deprecations within PyTables
        frame.to_hdf(tmp_path / "pandas.h5", key="meta")
    with h5py.File(tmp_path / "pandas.h5") as file:
        pd.testing.assert_frame_equal(read_frame(file["meta"], "meta"), frame, check_dtype=False)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(st.integers(0, 300), st.floats(-1e6, 1e6), st.text(max_size=5), st.booleans()), min_size=1, max_size=6
    ),
)
def test_any_table_survives_the_round_trip(levels: int, rows: list[tuple[int, float, str, bool]]) -> None:
    index = pd.MultiIndex.from_arrays(
        [[row[0] + k for row in rows] for k in range(levels)], names=list("abcd")[:levels]
    )
    frame = pd.DataFrame(rows, columns=["(3, 3) filters", "x", "wörd", "flag"], index=index)
    frame["wörd"] = frame["wörd"].astype(object)
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        write_frame(file, "meta", frame)
        pd.testing.assert_frame_equal(read_frame(file["meta"], "meta"), frame)


def damage(path: Path, change: str) -> None:
    with h5py.File(path, "a") as file:
        meta = file["meta"]
        if change == "no column names":
            del meta["axis0"]
        elif change == "labels that point nowhere":
            meta["axis1_label0"][...] = 99
        elif change == "a block too many":
            meta.attrs["nblocks"] = 9
        elif change == "absurd blocks":
            meta.attrs["nblocks"] = 10**9
        elif change == "another shape":
            del meta["block0_values"]
            meta["block0_values"] = np.zeros((2, 2))
        elif change == "a link":
            del meta["block0_values"]
            meta["block0_values"] = h5py.ExternalLink("/etc/passwd", "/")
        elif change == "a billion rows":
            del meta["axis1_label0"]
            meta.create_dataset("axis1_label0", shape=(10**9,), dtype="i1", chunks=(1000,))
        elif change == "a table of PyTables":
            meta.attrs["pandas_type"] = "frame_table"
        elif change == "a truncated pickle":
            cells = meta["block3_values"]
            cells[0] = cells[0][:100]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("no column names", "axis0 is missing"),
        ("labels that point nowhere", "labels that point nowhere"),
        ("a block too many", "block4_items is missing"),
        ("absurd blocks", "does not say of how many parts"),
        ("another shape", r"has shape \(2, 2\)"),
        ("a link", "block0_values is missing"),
        ("a billion rows", "which is no table of convolutions"),
        ("a table of PyTables", "no table in pandas' fixed format"),
        ("a truncated pickle", "pickled columns cannot be read"),
    ],
)
def test_a_damaged_table_is_refused_with_its_reason(published: Path, change: str, said: str) -> None:
    damage(published, change)
    with h5py.File(published) as file, pytest.raises(CheckpointError, match=said) as caught:
        read_frame(file["meta"], "meta")
    assert isinstance(caught.value, FilterlensError)
