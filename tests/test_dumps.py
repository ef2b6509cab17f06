"""Dumps: what goes in comes out, nothing half-written is ever seen, and files from elsewhere are not trusted."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from filterlens.dumps import SCHEMA, DumpReader, DumpWriter, WritableGroup, decode_name, encode_name
from filterlens.errors import DumpError, FilterlensError
from filterlens.process.files import commit_file

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
DTYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8", "?"])
ARRAYS = DTYPES.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, **arrays: Any) -> Path:
    with DumpWriter(path, {"model_id": "m"}) as writer:
        group = writer.lens("filters", {"kernel": "3x3"})
        for name, array in arrays.items():
            group.write(name, np.asarray(array), conv_depth=3)
    return path


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@QUICK
@given(st.dictionaries(NAMES, ARRAYS, max_size=4))
def test_arrays_come_back_as_they_went_in_and_in_order(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "m.h5"
    path.unlink(missing_ok=True)
    with DumpWriter(path, {"model_id": "m"}) as writer:
        group = writer.lens("filters", {})
        for name, array in arrays.items():
            group.write(name, array, compression="gzip" if array.ndim and array.size else None)
    with DumpReader(path) as reader:
        found = reader.lens("filters")
        assert found.names() == list(arrays)
        for name, array in arrays.items():
            assert name in found
            assert found.shape(name) == array.shape
            assert found.read(name).dtype == array.dtype
            np.testing.assert_array_equal(found.read(name), array)


@settings(deadline=None)
@given(NAMES)
def test_a_layer_s_name_becomes_one_link_and_back(name: str) -> None:
    link = encode_name(name)
    assert link
    assert "/" not in link
    assert "\0" not in link
    assert link != "."
    assert decode_name(link) == name


@QUICK
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
            lambda key: key not in {"schema", "created", "filterlens_version"}
        ),
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
            st.integers(-(2**62), 2**62),
            st.floats(allow_nan=False),
            st.booleans(),
        ),
        max_size=4,
    )
)
def test_attributes_come_back_as_plain_python(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = tmp_path / "m.h5"
    path.unlink(missing_ok=True)
    with DumpWriter(path, attributes):
        pass
    with DumpReader(path) as reader:
        found = {key: reader.attributes[key] for key in attributes}
        assert found == attributes
        assert reader.attributes["schema"] == SCHEMA


def test_attributes_of_arrays_and_parameters_come_back(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with DumpWriter(path, {"model_id": "ResNet é"}) as writer:
        group = writer.lens("filters", {"kernel": "3x3", "seed": 1})
        group.set_attributes(seconds=1.5)
        group.write("a", np.ones(3), stride=np.array([2, 1]), depth_from="graph", folded=True)
    with DumpReader(path) as reader:
        found = reader.lens("filters")
        assert reader.model_id == "ResNet é"
        assert found.parameters == {"kernel": "3x3", "seed": 1}
        assert found.attributes["seconds"] == 1.5
        assert found.attributes_of("a") == {"order": 0, "stride": [2, 1], "depth_from": "graph", "folded": True}


def test_a_stream_is_filled_row_by_row_and_read_in_batches(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(7, 2, 3)).astype("f2")
    with DumpWriter(tmp_path / "m.h5", {}) as writer:
        dataset = writer.lens("downsampling", {}).stream("x", rows.shape, "float16")
        for start in range(0, 7, 3):
            dataset[start : start + 3] = rows[start : start + 3]
    with DumpReader(tmp_path / "m.h5") as reader:
        batches = list(reader.lens("downsampling").batches("x", 2))
    assert [len(batch) for batch in batches] == [2, 2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(batches), rows)


def test_other_lenses_are_kept_and_the_same_one_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "m.h5", old=[1.0])
    with DumpWriter(path, {"model_id": "m"}) as writer:
        writer.lens("flatness", {}).write("loss", np.ones(2))
    with DumpWriter(path, {"model_id": "m"}) as writer:
        writer.lens("filters", {}).write("new", np.ones(2))
        writer.lens("broken", {})
        writer.discard("broken")
    with DumpReader(path) as reader:
        assert sorted(reader.lenses) == ["filters", "flatness"]
        assert reader.lens("filters").names() == ["new"]


def test_a_failure_half_way_leaves_the_old_dump_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "m.h5", a=[1.0])
    before = path.read_bytes()
    with contextlib.suppress(KeyboardInterrupt), DumpWriter(path, {}) as writer:
        writer.lens("filters", {}).write("a", np.zeros(100))
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert left_in(tmp_path) == ["m.h5"]


def test_nothing_is_seen_before_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with DumpWriter(path, {}) as writer:
        writer.lens("filters", {}).write("a", np.zeros(3))
        assert not path.exists()
    assert left_in(tmp_path) == ["m.h5"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, __: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DumpError, match=r"the disk is full: .* was not written; free some space"):
        write(tmp_path / "m.h5", a=[1.0])
    assert left_in(tmp_path) == []


def test_a_place_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DumpError, match=r"could not be written|cannot be written"):
        write(tmp_path / "file" / "m.h5", a=[1.0])


def test_a_damaged_dump_in_the_way_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(b"no HDF5")
    write(path, a=[1.0])
    with DumpReader(path) as reader:
        assert reader.lens("filters").read("a").tolist() == [1.0]
    assert left_in(tmp_path) == ["m.h5"]


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.array([object()]), np.array([b"x"])])
def test_only_plain_numbers_are_written(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(DumpError, match=r"'a' is of type .* but dumps hold plain numbers only"):
        write(tmp_path / "m.h5", a=array)
    assert left_in(tmp_path) == []


def test_one_name_is_written_once(tmp_path: Path) -> None:
    def twice(group: WritableGroup) -> None:
        group.write("a/b", np.ones(1))
        group.write("a/b", np.ones(1))

    with (
        pytest.raises(DumpError, match="/filters already holds an array 'a/b'"),
        DumpWriter(tmp_path / "m.h5", {}) as writer,
    ):
        twice(writer.lens("filters", {}))


# --- files from elsewhere ---------------------------------------------------------------------------------------


def hostile(path: Path, **options: Any) -> h5py.Group:
    file = h5py.File(path, "w", **options)
    file.attrs["schema"] = SCHEMA
    return file.create_group("filters")


def read_all(path: Path) -> None:
    """Everything that an analyzer would do."""
    with DumpReader(path) as reader:
        for lens in reader.lenses:
            group = reader.lens(lens)
            assert group.attributes is not None
            assert group.parameters is not None
            for name in group.names():
                group.attributes_of(name)
                group.shape(name)
                group.read(name)
                for _ in group.batches(name, 3) if group.shape(name) else ():
                    pass


def test_a_missing_dump_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match=r"m\.h5 does not exist: run `filterlens extract` first"):
        DumpReader(tmp_path / "m.h5")


@pytest.mark.parametrize("content", [b"", b"<html>quota exceeded</html>", b"\x89HDF\r\n\x1a\n", bytes(4096)])
def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.h5").write_bytes(content)
    with pytest.raises(DumpError, match=r"m\.h5 cannot be read as HDF5 .* extract again"):
        DumpReader(tmp_path / "m.h5")


@pytest.mark.parametrize("schema", [None, 0, 2, "1", np.ones(3)])
def test_another_schema_is_refused(tmp_path: Path, schema: Any) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        if schema is not None:
            file.attrs["schema"] = schema
    with pytest.raises(DumpError, match=r"m\.h5 has dump schema .*, this filterlens reads 1: extract again"):
        DumpReader(tmp_path / "m.h5")


def test_a_lens_or_an_array_that_is_not_there_is_named(tmp_path: Path) -> None:
    with DumpReader(write(tmp_path / "m.h5", a=[1.0])) as reader:
        with pytest.raises(DumpError, match="holds no lens 'flatness', only filters"):
            reader.lens("flatness")
        with pytest.raises(DumpError, match="/filters holds no array 'b'"):
            reader.lens("filters").read("b")


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_dump_is_refused(tmp_path: Path, fraction: float) -> None:
    path = write(tmp_path / "m.h5", a=np.random.default_rng(0).normal(size=(64, 64)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DumpError, match=r"m\.h5"):
        read_all(path)


def test_a_flipped_bit_in_the_data_fails_its_checksum(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(64, 64))
    path = write(tmp_path / "m.h5", a=data)
    content = bytearray(path.read_bytes())
    at = content.find(data.tobytes()[:64])
    assert at > 0
    content[at + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DumpError, match=r"/filters/a cannot be read .* extract again"):
        read_all(path)


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "secret.h5", a=[1.0])
    group = hostile(tmp_path / "m.h5")
    group["a"] = h5py.ExternalLink("secret.h5", "/filters/a")
    group.file["flatness"] = h5py.ExternalLink("secret.h5", "/filters")
    group.file.close()
    with pytest.raises(DumpError, match="is a link, which dumps never hold; it is not followed"):
        read_all(tmp_path / "m.h5")


def test_soft_links_are_not_followed(tmp_path: Path) -> None:
    group = hostile(tmp_path / "m.h5")
    group["a"] = h5py.SoftLink("/filters/a")
    group.file.close()
    with pytest.raises(DumpError, match="is a link"):
        read_all(tmp_path / "m.h5")


def test_data_kept_in_another_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(80))
    group = hostile(tmp_path / "m.h5")
    group.create_dataset("a", shape=(10,), dtype="f8", external=[(str(tmp_path / "raw"), 0, 80)])
    group.file.close()
    with pytest.raises(DumpError, match="keeps its data in another file"):
        read_all(tmp_path / "m.h5")


def test_virtual_data_are_refused(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(4,))
    group = hostile(tmp_path / "m.h5")
    group.create_virtual_dataset("a", layout)
    group.file.close()
    with pytest.raises(DumpError, match="keeps its data in another file"):
        read_all(tmp_path / "m.h5")


@pytest.mark.parametrize(
    "dtype", [h5py.string_dtype(), h5py.vlen_dtype("f4"), h5py.ref_dtype, "c16", [("x", "f4")], "S10"], ids=str
)
def test_arrays_that_are_no_plain_numbers_are_refused(tmp_path: Path, dtype: Any) -> None:
    group = hostile(tmp_path / "m.h5")
    group.create_dataset("a", shape=(3,), dtype=dtype)
    group.file.close()
    with pytest.raises(DumpError, match="dumps hold plain numbers only"):
        read_all(tmp_path / "m.h5")


@pytest.mark.parametrize("shape", [(10**9,), (10**9, 10**6), (1 << 62,)])
def test_a_declared_size_that_is_not_there_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    group = hostile(tmp_path / "m.h5")
    group.create_dataset("a", shape=shape, dtype="f4", chunks=(1,) * len(shape))
    group.file.close()
    with pytest.raises(DumpError, match=r"declares .* bytes but holds 0; .* extract again"):
        read_all(tmp_path / "m.h5")


def test_a_compressed_bomb_is_refused(tmp_path: Path) -> None:
    group = hostile(tmp_path / "m.h5")
    data = group.create_dataset("a", shape=(1 << 33,), dtype="f4", chunks=(1 << 20,), compression="gzip")
    data[: 1 << 20] = 0
    group.file.close()
    with pytest.raises(DumpError, match=r"declares .* bytes but holds"):
        read_all(tmp_path / "m.h5")


@pytest.mark.parametrize("parameters", ["no JSON", "[1, 2]", "3", b"\xff\xfe"])
def test_parameters_that_are_no_json_object_are_refused(tmp_path: Path, parameters: Any) -> None:
    group = hostile(tmp_path / "m.h5")
    group.attrs["parameters"] = parameters if isinstance(parameters, str) else np.bytes_(parameters)
    group.file.close()
    with pytest.raises(DumpError, match="the parameters of /filters are not"):
        read_all(tmp_path / "m.h5")


@pytest.mark.parametrize("order", ["first", np.arange(3), 1e400, float("nan"), h5py.Empty("f4")])
def test_a_nonsensical_order_is_an_error_of_ours(tmp_path: Path, order: Any) -> None:
    group = hostile(tmp_path / "m.h5")
    group.create_dataset("a", data=[1.0]).attrs["order"] = order
    group.file.close()
    with pytest.raises(DumpError, match=r"m\.h5: .* order"):
        read_all(tmp_path / "m.h5")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8))
def test_whatever_is_flipped_only_errors_of_ours_come_out(tmp_path: Path, flips: list[tuple[float, int]]) -> None:
    path = tmp_path / "m.h5"
    path.unlink(missing_ok=True)
    content = bytearray(write(path, a=np.arange(12.0).reshape(3, 4), b=[1, 2]).read_bytes())
    for place, mask in flips:
        content[int(place * len(content))] ^= mask
    path.write_bytes(content)
    with contextlib.suppress(FilterlensError):
        read_all(path)


def test_a_dump_is_read_with_h5py_alone(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype("f4")
    write(tmp_path / "m.h5", conv1=weight)
    with h5py.File(tmp_path / "m.h5") as file:
        np.testing.assert_array_equal(file["filters/conv1"][()], weight)
        assert file["filters/conv1"].attrs["conv_depth"] == 3
        assert json.loads(file["filters"].attrs["parameters"]) == {"kernel": "3x3"}


def test_ctrl_c_waits_until_a_dump_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(temporary: Path, path: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        commit_file(temporary, path)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("filterlens.dumps.writing.commit_file", interrupted)

    def write_and_wait() -> None:
        write(tmp_path / "m.h5", a=[1.0])
        time.sleep(20)

    with pytest.raises(KeyboardInterrupt):
        write_and_wait()
    assert left_in(tmp_path) == ["m.h5"]
    read_all(tmp_path / "m.h5")
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_between_arrays_is_heard_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def stopped() -> None:
        with DumpWriter(tmp_path / "m.h5", {"model_id": "m"}) as writer:
            writer.lens("filters", {}).write("a", np.ones(3))
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it was not heard")

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert left_in(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_a_dump_is_being_opened_is_heard_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    original = h5py.File

    def interrupted(*arguments: Any, **options: Any) -> h5py.File:
        file = original(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return file

    monkeypatch.setattr("filterlens.dumps.writing.h5py.File", interrupted)

    def open_and_wait() -> None:
        with DumpWriter(tmp_path / "m.h5", {"model_id": "m"}):
            time.sleep(20)

    with pytest.raises(KeyboardInterrupt):
        open_and_wait()
    assert left_in(tmp_path) == []
    assert lost == []
