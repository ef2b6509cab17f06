"""Rows as text: what a sequence of entries promises."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

from filterlens.catalogs import Entry
from filterlens.catalogs.rows import HashIndex, Rows

ENTRIES = tuple(Entry(model_id=f"m{number}", source=f"é {number}\n", epoch=number) for number in range(7))


def rows() -> Rows:
    made = Rows(["model_id", "source", "epoch"])
    for entry in ENTRIES:
        made.add([entry.model_id, entry.source, str(entry.epoch)])
    return made


def test_rows_are_a_sequence_of_entries() -> None:
    made = rows()
    assert (len(made), list(made), made[-1], made[2]) == (7, list(ENTRIES), ENTRIES[-1], ENTRIES[2])
    assert ENTRIES[3] in made
    assert made == ENTRIES
    assert made != ENTRIES[:6]
    assert made != "no entries"
    assert hash(made) == hash(ENTRIES)
    assert repr(made) == "<7 entries>"
    with pytest.raises(IndexError):
        made[7]


def test_rows_taken_share_the_text_and_are_found_at_their_own_places() -> None:
    made = rows()
    taken = made.take([5, 2, 6])
    assert tuple(taken) == (ENTRIES[5], ENTRIES[2], ENTRIES[6])
    assert (taken.find("m2"), taken.find("m0"), made.find("m2")) == (1, None, 2)
    assert tuple(taken.take([2, 0])) == (ENTRIES[6], ENTRIES[5])
    assert tuple(made[1:6:2][1:]) == ENTRIES[3:6:2]
    assert list(taken.model_ids()) == ["m5", "m2", "m6"]


def test_only_filled_cells_are_named() -> None:
    made = Rows(["model_id", "match"])
    for cells in (["a", ""], ["b", "a"], ["c", " "]):
        made.add(cells)
    assert (list(made.filled("match")), list(made.filled("eps"))) == ([1, 2], [])


def test_a_model_is_found_in_another_process_whose_hashes_are_others() -> None:
    made = rows()
    assert made.find("m3") == 3
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).find('m3'))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    found = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(made), capture_output=True, check=True, env=environment
    )
    assert found.stdout.strip() == b"3"


def test_an_index_names_every_place_of_a_hash() -> None:
    from array import array

    index = HashIndex(array("q", [hash("b"), hash("a"), hash("b"), hash("b")]))
    assert (index.places("b"), index.places("a"), index.places("c")) == ([0, 2, 3], [1], [])
    assert index.repeated() == [2, 3]
