"""Files made to do harm: each is refused with an error of ours, runs nothing, and takes no memory it only declares."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from typer.testing import CliRunner

from filterlens.catalogs import Entry
from filterlens.cli.app import app
from filterlens.errors import CheckpointError, FilterlensError, UnsafeCheckpointError
from filterlens.loaders import load_model
from filterlens.loaders.model import LoadedModel
from filterlens.score import read_scores

Load = Callable[..., LoadedModel]


@contextmanager
def taking_no_memory(limit: int = 200_000) -> Iterator[None]:
    """Fail where the block takes more than 200 MB at any moment."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield
        return
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is now what is held now
    before = int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0])
    yield
    assert int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) - before < limit


def test_memory_that_is_taken_would_be_seen() -> None:
    with pytest.raises(AssertionError), taking_no_memory():
        np.ones(50_000_000)


# Pickles, written opcode by opcode: what no `__reduce__` can make. `W` stands for the witness's path.


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _weights() -> bytes:
    """Opcodes that leave a state dict's key and a plain tensor's stand-in on the stack."""
    return _text("epoch") + b"K\x03"


OPCODES = {
    "INST": lambda command: b"(" + _text(command) + b"iposix\nsystem\n",
    "OBJ": lambda command: b"(cposix\nsystem\n" + _text(command) + b"o",
    "REDUCE": lambda command: b"cposix\nsystem\n" + _text(command) + b"\x85R",
    "NEWOBJ": lambda command: b"cposix\nsystem\n" + _text(command) + b"\x85\x81",
    "NEWOBJ_EX": lambda command: b"cposix\nsystem\n" + _text(command) + b"\x85}\x92",
    "STACK_GLOBAL": lambda command: b"\x8c\x05posix\x8c\x06system\x93" + _text(command) + b"\x85R",
    "dotted name": lambda command: b"\x8c\x05torch\x8c\x10_utils.os.system\x93" + _text(command) + b"\x85R",
    "dotted module": lambda command: b"\x8c\x0etorch._utils.os\x8c\x06system\x93" + _text(command) + b"\x85R",
    "a call's result": lambda command: (
        b"cbuiltins\ngetattr\ncposix\nsystem\n" + _text("__call__") + b"\x86R" + _text(command) + b"\x85R"
    ),
    "partial": lambda command: b"cfunctools\npartial\ncposix\nsystem\n" + _text(command) + b"\x86R)R",
    "exec": lambda command: b"cbuiltins\nexec\n" + _text(f"__import__('os').system({command!r})") + b"\x85R",
    "BUILD": lambda command: b"cbuiltins\nobject\n)R}" + _text("__setstate__") + b"cposix\nsystem\nsb" + b"",
    "torch.load": lambda command: b"ctorch\nload\n" + _text(command) + b"\x85R",
    "hub": lambda command: b"ctorch.hub\nload\n" + _text(command) + _text("x") + b"\x86R",
}


def _program(body: bytes) -> bytes:
    """Make a pickle of a dictionary that holds the body's object beside an epoch."""
    return b"\x80\x04}" + _weights() + b"s" + _text("payload") + body + b"s."


def _zip_checkpoint(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("data.pkl", data), ("version", b"3\n"), ("byteorder", b"little")):
            archive.writestr(f"archive/{name}", content)


def _legacy_checkpoint(path: Path, data: bytes) -> None:
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + data + pickle.dumps([], 2))


def _plain_pickle(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize("write", [_zip_checkpoint, _legacy_checkpoint, _plain_pickle], ids=["zip", "legacy", "plain"])
@pytest.mark.parametrize("opcode", OPCODES)
def test_no_opcode_runs_anything(opcode: str, write: Callable[[Path, bytes], None], tmp_path: Path, load: Load) -> None:
    witness = tmp_path / "witness"
    write(tmp_path / "m.ckpt", _program(OPCODES[opcode](f"touch {witness}")))
    with pytest.raises(CheckpointError) as caught:
        load("m.ckpt")
    assert type(caught.value) in {CheckpointError, UnsafeCheckpointError}
    assert str(tmp_path / "m.ckpt") in str(caught.value)
    assert not witness.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.ckpt"]


def test_the_pickles_of_these_tests_would_run(tmp_path: Path) -> None:
    """What cannot fail proves nothing: Python's own unpickler does run them."""
    for opcode in ("INST", "OBJ", "REDUCE", "STACK_GLOBAL", "dotted module", "exec", "partial", "a call's result"):
        witness = tmp_path / opcode.replace(" ", "-").replace("'", "")
        code = f"import pickle, sys; pickle.loads({_program(OPCODES[opcode](f'touch {witness}'))!r})"
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False, capture_output=True)
        if opcode != "dotted module":  # no such module: kept to see that it is refused, not imported
            assert witness.exists(), opcode


# safetensors


def _header(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(start: int, stop: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


LYING = {
    "a header of a terabyte": _header({}, length=1 << 40),
    "a header longer than the file": _header({"w": _entry(0, 4, [1])}, b"1234", length=1 << 20),
    "a header that is no JSON": _header(b"{not json"),
    "a header that is a list": _header([1, 2]),
    "offsets behind the end": _header({"w": _entry(0, 400, [100])}, b"1234"),
    "offsets before the start": _header({"w": _entry(-4, 4, [2])}, b"12345678"),
    "offsets turned round": _header({"w": _entry(8, 4, [1])}, b"12345678"),
    "tensors that overlap": _header({"a": _entry(0, 8, [2]), "b": _entry(4, 12, [2])}, bytes(12)),
    "bytes that belong to nobody": _header({"a": _entry(0, 4, [1])}, bytes(64)),
    "a shape larger than its bytes": _header({"w": _entry(0, 4, [1000, 1000])}, b"1234"),
    "a shape of a terabyte": _header({"w": _entry(0, 1 << 40, [1 << 38])}, b"1234"),
    "a shape that overflows": _header({"w": _entry(0, 4, [1 << 33, 1 << 33])}, b"1234"),
    "an unknown type": _header({"w": _entry(0, 4, [1], "F31")}, b"1234"),
    "a name twice": _header(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32"}}', b"1234"),
    "no bytes at all": b"",
    "a length only": struct.pack("<Q", 0),
    "a pickle": pickle.dumps({"w": 1}),
    "a web page": b"<html>quota exceeded</html>",
}


@pytest.mark.parametrize("lie", LYING)
def test_a_safetensors_header_is_not_believed(lie: str, tmp_path: Path, load: Load) -> None:
    (tmp_path / "m.safetensors").write_bytes(LYING[lie])
    with (
        taking_no_memory(),
        pytest.raises(CheckpointError, match=r"m\.safetensors is no safetensors file that can be read") as caught,
    ):
        load("m.safetensors")
    assert type(caught.value) is CheckpointError


def test_an_empty_safetensors_file_is_told(tmp_path: Path, load: Load) -> None:
    (tmp_path / "m.safetensors").write_bytes(_header({}))
    with pytest.raises(CheckpointError, match="holds no tensors"):
        load("m.safetensors")


# ONNX


def _graph(weight: TensorProto) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    node = helper.make_node("Conv", ["x", weight.name], ["y"], name="conv")
    ends = [value("x", TensorProto.FLOAT, [1, 3, 8, 8])], [value("y", TensorProto.FLOAT, [1, 4, 6, 6])]
    return helper.make_model(helper.make_graph([node], "g", *ends, [weight]))


def _weight() -> TensorProto:
    return numpy_helper.from_array(np.ones((4, 3, 3, 3), dtype=np.float32), "conv.weight")


def _external(location: str, offset: int = 0, length: int = 432) -> TensorProto:
    weight = _weight()
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        weight.external_data.add(key=key, value=value)
    return weight


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "inside/../../secret.bin", "link.bin", "", "a\0b"]
)
def test_external_data_outside_the_folder_are_not_read(location: str, tmp_path: Path, load: Load) -> None:
    folder = tmp_path / "zoo"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(432))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "m.onnx").write_bytes(_graph(_external(location)).SerializeToString())
    with pytest.raises(CheckpointError, match=r"points out of its folder .* it is not followed") as caught:
        load("zoo/m.onnx")
    assert type(caught.value) is CheckpointError


@pytest.mark.parametrize(("offset", "length"), [(0, 4), (400, 432), (-1, 432), (1 << 62, 432), (0, 1 << 40)])
def test_external_data_of_another_length_are_refused(offset: int, length: int, tmp_path: Path, load: Load) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(432))
    (tmp_path / "m.onnx").write_bytes(_graph(_external("data.bin", offset, length)).SerializeToString())
    with pytest.raises(CheckpointError, match=r"damaged external data|do not belong together"):
        load("m.onnx")


def test_external_data_in_the_folder_are_read(tmp_path: Path, load: Load) -> None:
    (tmp_path / "data.bin").write_bytes(np.full(108, 2.0, dtype=np.float32).tobytes())
    (tmp_path / "m.onnx").write_bytes(_graph(_external("data.bin")).SerializeToString())
    assert (load("m.onnx").weights["conv.weight"] == 2).all()


@pytest.mark.parametrize("shape", [[1 << 20, 1 << 20], [1 << 62, 4], [-1, 3, 3, 3], [1 << 14, 1 << 14, 3, 3]])
def test_a_shape_that_an_onnx_file_only_declares_takes_no_memory(shape: list[int], tmp_path: Path, load: Load) -> None:
    weight = _weight()
    del weight.dims[:]
    weight.dims.extend(shape)
    (tmp_path / "m.onnx").write_bytes(_graph(weight).SerializeToString())
    with taking_no_memory(), pytest.raises(CheckpointError, match=r"declares the shape|needs .* bytes and has 432"):
        load("m.onnx")


def test_an_onnx_tensor_without_any_data_takes_no_memory(tmp_path: Path, load: Load) -> None:
    weight = _weight()
    weight.ClearField("raw_data")
    del weight.dims[:]
    weight.dims.extend([1 << 15, 1 << 14, 3, 3])  # 19 GB of float32
    (tmp_path / "m.onnx").write_bytes(_graph(weight).SerializeToString())
    with taking_no_memory(), pytest.raises(CheckpointError, match=r"m\.onnx"):
        load("m.onnx")


# Weights that are numbers, and yet none to score


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.0])
def test_weights_without_a_score_poison_nothing_and_stop_nothing(value: float, tmp_path: Path) -> None:
    good, bad = torch.randn(8, 3, 3, 3), torch.randn(8, 3, 3, 3)
    bad[0, 0, 0, 0] = value
    bad = torch.zeros_like(bad) if value == 0 else bad
    torch.save({"a.weight": good, "b.weight": bad}, tmp_path / "odd.pt")
    torch.save({"a.weight": good, "b.weight": good}, tmp_path / "even.pt")
    (tmp_path / "zoo.csv").write_text("model_id,source\nodd,odd.pt\neven,even.pt\n")
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["audit", "-l", str(tmp_path / "zoo.csv"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    scores = read_scores(out / "scores.parquet").set_index(["model_id", "layer", "metric"])["value"]
    assert scores["odd", "a", "variance_entropy"] == scores["even", "a", "variance_entropy"]
    if value == 0:
        assert scores["odd", "b", "sparsity"] == 1
    else:
        assert np.isnan(scores["odd", "b", "sparsity"])


def test_hostile_files_cost_one_line_each_and_the_batch_goes_on(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    _zip_checkpoint(tmp_path / "evil.pt", _program(OPCODES["REDUCE"](f"touch {witness}")))
    (tmp_path / "page.pt").write_bytes(b"<!DOCTYPE html><title>404</title>")
    (tmp_path / "lies.safetensors").write_bytes(LYING["a shape of a terabyte"])
    (tmp_path / "out.onnx").write_bytes(_graph(_external("../secret.bin")).SerializeToString())
    torch.save({"conv.weight": torch.randn(4, 3, 3, 3)}, tmp_path / "good.pt")
    names = ["evil.pt", "page.pt", "lies.safetensors", "out.onnx", "good.pt"]
    rows = [f"{name.partition('.')[0]},{name}" for name in names]
    (tmp_path / "zoo.csv").write_text("\n".join(["model_id,source", *rows]))
    command = [
        sys.executable,
        "-c",
        "from filterlens.cli import main; main()",
        "extract",
        "-l",
        str(tmp_path / "zoo.csv"),
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run")], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    for name in ("evil", "page", "lies", "out"):
        assert f"failed {name}" in done.stdout + done.stderr
    assert [path.name for path in (tmp_path / "run" / "dumps").iterdir()] == ["good.h5"]
    assert not witness.exists()


# Fuzzing: bytes of valid files, cut, changed and put together


def _valid() -> dict[str, bytes]:
    weights = {"conv.weight": torch.ones(4, 3, 3, 3), "bias": torch.ones(4)}
    inner = io.BytesIO()
    torch.save({"state_dict": weights, "epoch": 1}, inner)
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w") as archive:
        member = tarfile.TarInfo("model.pt")
        member.size = len(inner.getvalue())
        archive.addfile(member, io.BytesIO(inner.getvalue()))
    legacy = io.BytesIO()
    torch.save(weights, legacy, _use_new_zipfile_serialization=False)
    return {
        ".safetensors": save(weights),
        ".onnx": _graph(_weight()).SerializeToString(),
        ".tar": outer.getvalue(),
        ".pt": inner.getvalue(),
        ".pth": legacy.getvalue(),
    }


VALID = _valid()


EDIT = st.tuples(
    st.sampled_from(["flip", "cut", "insert", "repeat", "splice"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 255),
    st.binary(max_size=16),
    st.sampled_from(sorted(VALID)),
)
DAMAGE = {
    "kind": st.sampled_from(sorted(VALID)),
    "suffix": st.none() | st.sampled_from(sorted(VALID)),
    "edits": st.lists(EDIT, min_size=1, max_size=6),
}


def _edited(data: bytearray, edit: tuple[str, float, int, bytes, str]) -> bytearray:
    how, share, number, noise, other = edit
    place = int(share * len(data))
    if how == "flip" and data:
        data[place] ^= number
    elif how == "cut":
        del data[place : place + number]
    elif how == "insert":
        data[place:place] = noise
    elif how == "repeat":
        data[place:place] = data[place : place + number]
    elif how == "splice":
        data[place:] = VALID[other][int(share * number / 255 * len(VALID[other])) :]
    return data


def _meets_only_our_errors(folder: Path, kind: str, suffix: str | None, edits: list[Any]) -> None:
    data = bytearray(VALID[kind])
    for edit in edits:
        data = _edited(data, edit)
    path = folder / f"damaged{suffix or kind}"
    path.write_bytes(data)
    said = path.name
    try:
        model = load_model(Entry(model_id="m", source=path.name), folder, weights_only=True)
        assert all(isinstance(weight, torch.Tensor) for weight in model.weights.values())
    except FilterlensError as error:
        said = str(error)
    finally:
        path.unlink()
    assert path.name in said
    assert not [left for left in folder.iterdir() if left.name != "cache"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**DAMAGE)
def test_damaged_containers_meet_errors_of_ours_only(
    tmp_path: Path, kind: str, suffix: str | None, edits: list[Any]
) -> None:
    _meets_only_our_errors(tmp_path, kind, suffix, edits)


@pytest.mark.slow
@settings(max_examples=6000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**DAMAGE)
def test_many_damaged_containers_meet_errors_of_ours_only(
    tmp_path: Path, kind: str, suffix: str | None, edits: list[Any]
) -> None:
    _meets_only_our_errors(tmp_path, kind, suffix, edits)
