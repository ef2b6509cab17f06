"""Pickled cells come back as they were, and nothing that a pickle names is run."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterlens.errors import CheckpointError, FilterlensError, UnsafeCheckpointError
from filterlens.filterdb.cells import pickle_cells, unpickle_cells

CELL = st.one_of(st.text(), st.booleans(), st.none(), st.integers(), st.floats(allow_nan=False))


def table(cells: list[list[object]]) -> np.ndarray:
    found = np.empty((len(cells), len(cells[0])), dtype=object)
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            found[i, j] = cell
    return found


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=5)))
def test_cells_survive_the_round_trip(cells: list[list[object]]) -> None:
    array = table(cells)
    assert unpickle_cells(pickle_cells(array), array.shape, "here").tolist() == cells


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_protocol_and_order_is_read(protocol: int, order: str) -> None:
    array = np.array([["ä", True, 1.5], [None, 7, "1:2"]], dtype=object, order=order)  # type: ignore[call-overload]
    assert unpickle_cells(pickle.dumps(array, protocol), (2, 3), "here").tolist() == array.tolist()


def test_what_is_written_names_only_modules_that_every_numpy_has() -> None:
    data = pickle_cells(table([["numpy._core.multiarray\n", "x"]]))
    assert data.index(b"cnumpy.core.multiarray\n_reconstruct\n") < 10
    assert pickle.loads(data).tolist() == [["numpy._core.multiarray\n", "x"]]
    assert unpickle_cells(data, (1, 2), "here").tolist() == [["numpy._core.multiarray\n", "x"]]


def test_missing_cells_stay_missing() -> None:
    found = unpickle_cells(pickle_cells(table([[math.nan, None, ""]])), (1, 3), "here")[0]
    assert math.isnan(found[0])
    assert found[1] is None
    assert found[2] == ""


class Runs:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize("function", [os.system, subprocess.check_call, eval, exec, pickle.loads, np.fromfile, getattr])
def test_a_foreign_global_is_refused_and_not_run(tmp_path: Path, function: object) -> None:
    canary = tmp_path / "canary"
    array = table([[Runs(function, f"touch {canary}"), "x"]])
    with pytest.raises(UnsafeCheckpointError, match=r"more than a table: it names .* it was not run") as caught:
        unpickle_cells(pickle.dumps(array), (1, 2), "here")
    assert type(caught.value) is UnsafeCheckpointError
    assert not canary.exists()


def test_a_global_by_a_dotted_name_is_refused(tmp_path: Path) -> None:
    data = b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.data\x93."
    with pytest.raises(UnsafeCheckpointError, match=r"it names numpy\.ndarray\.data"):
        unpickle_cells(data, (1, 1), "here")


def test_a_codec_other_than_that_of_bytes_is_refused() -> None:
    data = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R."
    with pytest.raises(CheckpointError, match="stored as 'hex'"):
        unpickle_cells(data, (1, 1), "here")


def test_other_shapes_are_refused() -> None:
    data = pickle_cells(table([["a", "b"]]))
    for shape in ((2, 1), (1, 1), (4, 1)):
        with pytest.raises(CheckpointError, match=f"no table of {shape[0]} x {shape[1]} cells"):
            unpickle_cells(data, shape, "here")


def test_a_cell_that_is_no_cell_is_refused() -> None:
    with pytest.raises(
        CheckpointError, match="row 0, column 0 holds a dict; a cell is text, a number, a boolean or None"
    ):
        unpickle_cells(pickle.dumps(table([[{"a": 1}]])), (1, 1), "here")


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 300))
def test_damaged_pickles_meet_errors_of_ours_only(noise: bytes, start: int, length: int) -> None:
    whole = pickle.dumps(table([["a", 1.5, None], ["b", True, (1, 2)]]))
    damaged = whole[:start] + noise + whole[start + length :]
    try:
        found = unpickle_cells(damaged, (2, 3), "here")
    except FilterlensError:
        return
    assert found.shape == (2, 3)
