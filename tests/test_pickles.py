"""The pickle machine: plain values of every protocol come back, nothing that a file names is run, budgets hold."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import shutil
import struct
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterlens.pickles import Budget, PickleError, Placeholder, read_pickle

KEY = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())
VALUE = st.recursive(
    st.one_of(KEY, st.complex_numbers(allow_nan=False), st.builds(bytearray, st.binary()), st.frozensets(KEY)),
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner, inner),
        st.dictionaries(st.one_of(KEY, st.tuples(KEY, KEY)), inner),
        st.builds(OrderedDict, st.dictionaries(KEY, inner)),
        st.sets(KEY),
    ),
    max_leaves=8,
)


@given(VALUE, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back_as_they_were(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    found = read_pickle(data)
    assert found.content == value
    assert type(found.content) is type(value)
    assert found.unknown == ()
    assert found.end == len(data)


@given(VALUE, st.integers(0, pickle.HIGHEST_PROTOCOL), st.data())
def test_damaged_pickles_meet_one_error_only(value: object, protocol: int, data: st.DataObject) -> None:
    damaged = bytearray(pickle.dumps(value, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged)))
        damaged[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    with contextlib.suppress(PickleError):
        read_pickle(bytes(damaged))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_that_hold_themselves_are_read(protocol: int) -> None:
    row: list[object] = []
    row.append(row)
    table: dict[str, object] = {}
    table["self"] = (table, row)
    found = read_pickle(pickle.dumps(table, protocol)).content
    assert found["self"][0] is found
    assert found["self"][1][0] is found["self"][1]


def test_mappings_of_the_standard_library_become_plain_ones() -> None:
    value = [Counter("abca"), defaultdict(list, {"a": [1]})]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        found = read_pickle(pickle.dumps(value, protocol))
        assert found.content == [{"a": 2, "b": 1, "c": 1}, {"a": [1]}]
        assert found.unknown in {(), ("builtins.list",)}


class Runs:
    def __init__(self, function: Callable[..., object], *values: object) -> None:
        self.call = (function, values)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, eval, exec, os.makedirs, shutil.rmtree])
def test_what_a_pickle_names_is_not_run(function: Callable[..., object], protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps({"x": Runs(function, str(tmp_path / "witness")), "y": 1}, protocol)
    found = read_pickle(data)
    assert isinstance(found.content["x"], Placeholder)
    assert function.__name__ in found.unknown[0]
    assert found.content["y"] == 1
    assert not list(tmp_path.iterdir())


def test_what_a_table_answers_is_called_and_nothing_of_it_can_be_changed() -> None:
    seen: list[object] = []

    def made(*values: object) -> object:
        seen.append(values)
        return object()

    data = b"\x80\x02cours\nmade\nK\x01\x85R}X\x01\x00\x00\x00aK\x02sb."
    states: list[object] = []
    read_pickle(data, constructors={"ours.made": made}, build=lambda _, state: states.append(state))
    assert seen == [(1,)]
    assert states == [{"a": 2}]
    read_pickle(b"\x80\x02cours\nmade\n}X\x0c\x00\x00\x00__defaults__)sb.", constructors={"ours.made": made})
    assert made.__defaults__ is None


def test_an_error_of_a_constructor_is_told_in_one_line() -> None:
    def made(_: object) -> object:
        raise ValueError("no\nsuch thing")

    with pytest.raises(PickleError, match=r"^ours\.made cannot be rebuilt: no$"):
        read_pickle(b"cours\nmade\nN\x85R.", constructors={"ours.made": made})


def test_persistent_ids_are_answered_by_the_caller_or_refused() -> None:
    data = b"\x80\x02X\x01\x00\x00\x00aQ."
    assert read_pickle(data, persistent=lambda identifier: [identifier]).content == ["a"]
    assert read_pickle(b"Pabc\n.", persistent=lambda identifier: [identifier]).content == ["abc"]
    with pytest.raises(PickleError, match="refers to something outside"):
        read_pickle(data)


def test_text_of_python_2_is_decoded_as_asked() -> None:
    data = b"(lp0\nS'\\xe4'\np1\naU\x01\xe4a."
    assert read_pickle(data, encoding="latin1").content == ["ä", "ä"]
    assert read_pickle(data, encoding="bytes").content == [b"\xe4", b"\xe4"]
    with pytest.raises(PickleError, match="a text is damaged"):
        read_pickle(data)


def test_reading_ends_at_the_stop_and_says_where() -> None:
    data = pickle.dumps(1) + pickle.dumps("b") + b"rest"
    first = read_pickle(data)
    assert read_pickle(data, start=first.end).content == "b"


def _tuples(levels: int) -> bytes:
    """Nest pairs of a pair, shared: two to the power of the levels when hashed."""
    return b"\x80\x02)" + b"2\x86" * levels


def _colliding(count: int) -> bytes:
    big = b"".join(b"\x8a\x0a" + (i * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for i in range(1, count))
    return b"\x80\x02}(" + big + b"u."


HOSTILE = {
    "nested tuples as a key": (b"}" + _tuples(60) + b"Ns.", "a key has more than"),
    "nested tuples in a set": (b"\x80\x04\x8f(" + _tuples(60)[2:] + b"\x90.", "a key has more than"),
    "numbers with one hash": (_colliding(50_000), "keys of several numbers or of large ones"),
    "lists as keys": (b"}]Ns.", "a key is a list"),
    "a list in a tuple as a key": (b"}]\x85Ns.", "a key holds a list"),
    "an extension": (b"\x82\x01.", "opcode 0x82, which is not read"),
    "an extension of two bytes": (b"\x83\x01\x00.", "opcode 0x83"),
    "an extension of four bytes": (b"\x84\x01\x00\x00\x00.", "opcode 0x84"),
    "a buffer outside": (b"\x80\x05\x97.", "opcode 0x97"),
    "a read-only buffer": (b"\x80\x05N\x98.", "opcode 0x98"),
    "a frame longer than the file": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.", "ends too early"),
    "a text longer than the file": (b"X\xff\xff\xff\x7fabc", "ends too early"),
    "bytes of an exabyte": (b"\x8e" + b"\xff" * 8 + b"abc", "ends too early"),
    "a number of negative size": (b"\x8b\xff\xff\xff\xff.", "ends too early"),
    "a number of a million digits": (b"I" + b"9" * 1_000_000 + b"\n.", "a number reads"),
    "a number of a million bytes": (b"\x8b" + struct.pack("<I", 1_000_000) + bytes(1_000_000), "has 1000000 bytes"),
    "a value that was not stored": (b"h\x07.", "asks for value number 7"),
    "an empty stack": (b".", "its stack is empty"),
    "no mark": (b"NNt.", "no mark"),
    "a protocol to come": (b"\x80\x09N.", "unknown protocol 9"),
    "half a surrogate pair": (b"V\\ud800\n.", "a text is damaged"),
    "a call of a number": (b"K\x01)R.", "calls a int"),
    "a list copied again and again": (
        b"\x80\x02cbuiltins\nlist\nq\x00](" + b"N" * 20_000 + b"e\x85q\x01" + b"0h\x00h\x01R" * 10_000 + b".",
        "copies its values",
    ),
    "another codec": (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "stored as 'hex'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_end_in_one_line_and_at_once(name: str) -> None:
    data, message = HOSTILE[name]
    start = time.process_time()
    with pytest.raises(PickleError, match=message) as caught:
        read_pickle(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert time.process_time() - start < 2


@pytest.mark.parametrize("opcode", [b"]", b"}", b"\x8f", b"(", b"K\x01\x85", b"ca\nb\n"])
def test_what_one_pickle_makes_is_counted(opcode: bytes) -> None:
    with pytest.raises(PickleError, match="makes more than 1000 objects"):
        read_pickle(opcode * 2000 + b".", budget=Budget(containers=1000))
    with pytest.raises(PickleError, match="more than 1000 opcodes"):
        read_pickle(b"N" * 2000 + b".", budget=Budget(opcodes=1000))


def test_a_hundred_thousand_nested_lists_take_no_recursion() -> None:
    found = read_pickle(b"]" + b"]" * 100_000 + b"a" * 100_000 + b".").content
    depth = 0
    while found:
        found, depth = found[0], depth + 1
    assert depth == 100_000


def test_many_keys_take_seconds() -> None:
    start = time.process_time()
    assert len(read_pickle(pickle.dumps(dict.fromkeys(range(200_000)), 2)).content) == 200_000
    assert time.process_time() - start < 15


def test_objects_as_keys_are_told_apart_by_identity() -> None:
    """Optimisers keep their state by parameter."""
    data = b"\x80\x02}(cours\nmade\n)RK\x01cours\nmade\n)RK\x02u."
    found = read_pickle(data, constructors={"ours.made": object}).content
    assert sorted(found.values()) == [1, 2]


def test_random_bytes_are_no_pickle() -> None:
    generator = random.Random(0)
    for _ in range(3000):
        with contextlib.suppress(PickleError):
            read_pickle(generator.randbytes(generator.randrange(60)))
