"""Payloads never run, and what is plain around them is still read."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from loaders.conftest import Load
from torch import nn

from filterlens.errors import CheckpointError, UnsafeCheckpointError
from filterlens.loaders import checkpoint, state_dict
from filterlens.pickles import Placeholder

#: Payloads leave this file behind when they run.
WITNESS = "witness-of-a-payload"


class Reduce:
    """Runs through REDUCE."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, (f"touch {self.path}",)


class Nested:
    """Runs within the arguments of another call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return OrderedDict, ([("a", Reduce(self.path))],)


class Evaluated:
    """Runs through a builtin."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"open({str(self.path)!r}, 'w')",)


class Rebuilt:
    """Passes an unknown object to one of the functions that are really called."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return torch._tensor._rebuild_from_type_v2, (os.system, torch.Tensor, (f"touch {self.path}",), None)


PATH_OF_WITNESS: list[Path] = []


class Built:
    """Runs through NEWOBJ, then BUILD with a `__setstate__` of its own."""

    def __new__(cls) -> Built:
        for path in PATH_OF_WITNESS:
            path.touch()
        return super().__new__(cls)

    def __getstate__(self) -> dict[str, int]:
        return {"a": 1}

    def __setstate__(self, state: object) -> None:
        for path in PATH_OF_WITNESS:
            path.touch()


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / WITNESS


PAYLOADS = {"REDUCE": Reduce, "nested": Nested, "builtin": Evaluated}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", [*PAYLOADS, "NEWOBJ and BUILD"])
def test_a_payload_beside_the_weights_never_runs(
    name: str, legacy: bool, tmp_path: Path, witness: Path, load: Load
) -> None:
    payload = PAYLOADS[name](witness) if name in PAYLOADS else Built()
    weight = torch.randn(2, 3, 3, 3)
    content = {"state_dict": {"conv.weight": weight}, "hyper_parameters": payload, "epoch": 3}
    torch.save(content, tmp_path / "m.ckpt", _use_new_zipfile_serialization=not legacy)
    PATH_OF_WITNESS[:] = [witness]
    try:
        model = load("m.ckpt")
    finally:
        PATH_OF_WITNESS.clear()
    assert not witness.exists()
    assert torch.equal(model.weights["conv.weight"], weight)
    assert "not rebuilt" in model.notes[0]


def test_the_payloads_of_these_tests_do_run_when_trusted(tmp_path: Path, witness: Path, load: Load) -> None:
    content = {"state_dict": {"conv.weight": torch.ones(1, 1, 3, 3)}, "x": Reduce(witness)}
    torch.save(content, tmp_path / "m.pt")
    load("m.pt", trust_pickle=True)
    assert witness.exists()


def test_a_function_that_is_really_called_calls_no_stranger(tmp_path: Path, witness: Path, load: Load) -> None:
    torch.save({"conv.weight": torch.ones(1, 1, 3, 3), "x": Rebuilt(witness)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="a tensor's subclass cannot be rebuilt"):
        load("m.pt")
    assert not witness.exists()


def test_weights_that_only_code_could_make_are_refused_with_its_name_and_the_flag(
    tmp_path: Path, witness: Path, load: Load
) -> None:
    torch.save({"state_dict": Reduce(witness)}, tmp_path / "m.pt")
    with pytest.raises(UnsafeCheckpointError, match=r"(posix|os|nt)\.system.*--trust-pickle"):
        load("m.pt")
    assert not witness.exists()


def _legacy_file(path: Path, body: bytes) -> None:
    """Write torch's older format around a hand-written pickle without storages."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + body + pickle.dumps([], 2))


@pytest.mark.parametrize(
    "body",
    [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\x00\x00\x00__defaults__K\x01sb.",
        b"\x80\x02ccollections\nOrderedDict\nN}X\x03\x00\x00\x00getK\x01s\x86b.",
        b"\x80\x02ctorch.nn.parameter\nParameter\nN}X\x04\x00\x00\x00dataK\x01s\x86b.",
        b"\x80\x02ctorch\nfloat32\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02cbuiltins\nlist\nN}X\x06\x00\x00\x00appendK\x01s\x86b.",
    ],
)
def test_a_file_cannot_assign_to_what_the_process_uses(body: bytes, tmp_path: Path) -> None:
    before = (
        torch._utils._rebuild_tensor_v2.__defaults__,
        torch.nn.Parameter.__dict__.get("data"),
        dict.get,
        list.append,
    )
    path = tmp_path / "m.pt"
    _legacy_file(path, body)
    with pytest.raises(CheckpointError):
        state_dict.find_state_dict(checkpoint.read(path).content, path)
    after = (
        torch._utils._rebuild_tensor_v2.__defaults__,
        torch.nn.Parameter.__dict__.get("data"),
        dict.get,
        list.append,
    )
    assert after == before


def test_persistent_ids_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    _legacy_file(path, b"\x80\x02" + b"X\x06\x00\x00\x00system\x85Q.")
    with pytest.raises(CheckpointError, match="no checkpoint that can be read"):
        checkpoint.read(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_state_dict_of_a_whole_pickled_network_is_recovered(
    legacy: bool, tmp_path: Path, load: Load, network: nn.Module
) -> None:
    whole = {"model": nn.DataParallel(network), "args": Path("x")}
    torch.save(whole, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    model = load("m.pt")
    expected = network.state_dict()
    assert list(model.weights) == list(expected)
    assert all(torch.equal(model.weights[key], expected[key]) for key in expected)
    assert "torch.nn.modules.conv.Conv2d" in model.notes[0]


def test_a_trusted_whole_network_runs(tmp_path: Path, load: Load, network: nn.Module) -> None:
    torch.save(network, tmp_path / "m.pt")
    images = torch.rand(2, 3, 9, 9)
    model = load("m.pt", trust_pickle=True)
    assert model.classifier is not None
    assert torch.equal(model.classifier(images), network(images))


def _shape_bomb(path: Path, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
    """Save a small tensor, then lie about its shape in the pickle."""
    path.parent.mkdir(exist_ok=True)

    class Lying:
        def __reduce__(self) -> tuple[object, ...]:
            return torch._utils._rebuild_tensor_v2, (
                torch.ones(4).storage(),
                0,
                shape,
                stride,
                False,
                OrderedDict(),
            )

    torch.save({"conv.weight": Lying()}, path, _use_new_zipfile_serialization=path.stem == "zip")


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("shape", "stride"), [((1 << 20, 1 << 20), (1 << 20, 1)), ((1 << 20, 1 << 20), (0, 0)), ((64, 64), (64, 1))]
)
def test_a_tensor_larger_than_its_bytes_is_refused(
    form: str, shape: tuple[int, ...], stride: tuple[int, ...], tmp_path: Path, load: Load
) -> None:
    _shape_bomb(tmp_path / f"{form}.pt", shape, stride)
    with pytest.raises(CheckpointError, match=r"declared|declares|no checkpoint"):
        load(f"{form}.pt")


def test_a_pickle_of_ever_shared_lists_is_searched_once(tmp_path: Path) -> None:
    nested: object = {"a": 1}
    for _ in range(200):
        nested = [nested, nested]
    with pytest.raises(CheckpointError, match="holds no weights"):
        state_dict.find_state_dict({"x": nested}, tmp_path / "m.pt")


def test_modules_that_share_each_other_without_end_are_refused(tmp_path: Path) -> None:
    root = Placeholder("Net")
    root.state = {"_modules": {}, "_parameters": {}, "_buffers": {}}
    root.state["_modules"].update(a=root, b=root)  # type: ignore[call-overload]  # as a pickle may
    with pytest.raises(CheckpointError, match="nests modules without end"):
        state_dict.find_state_dict(root, tmp_path / "m.pt")


def test_the_size_of_a_legacy_storage_is_not_believed(tmp_path: Path, load: Load) -> None:
    torch.save({"w": torch.ones(4, 4)}, tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "m.pt").read_bytes()
    # numel in the pickle, K\x10, becomes a 4-byte integer: two billion values
    (tmp_path / "m.pt").write_bytes(content.replace(b"K\x10N", b"J" + struct.pack("<i", 2**31 - 1) + b"N", 1))
    with pytest.raises(CheckpointError, match="no checkpoint that can be read"):
        load("m.pt")
