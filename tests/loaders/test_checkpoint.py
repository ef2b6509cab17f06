"""Containers, prefixes, and files that are no checkpoints."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loaders.conftest import Load
from safetensors.torch import save_file
from torch import Tensor, nn

from filterlens.errors import CheckpointError, FilterlensError, UnsafeCheckpointError
from filterlens.loaders import checkpoint, state_dict


def _same(found: dict[str, Tensor], network: nn.Module) -> bool:
    expected = network.state_dict()
    return list(found) == list(expected) and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("key", state_dict.CONTAINERS)
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_are_found_in_every_known_container(
    key: str, legacy: bool, tmp_path: Path, load: Load, network: nn.Module
) -> None:
    content = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(2, 2)}}}, key: network.state_dict()}
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    model = load("m.pt")
    assert _same(dict(model.weights), network)
    assert model.notes == (f"weights found under {key!r}",)
    assert model.classifier is None


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th", ".ckpt", ".tar", ".bin"])
def test_a_bare_state_dict_needs_no_container(suffix: str, tmp_path: Path, load: Load, network: nn.Module) -> None:
    torch.save(network.state_dict(), tmp_path / f"m{suffix}")
    assert _same(dict(load(f"m{suffix}").weights), network)


def test_an_unknown_container_is_taken_when_it_is_the_only_one(tmp_path: Path, load: Load, network: nn.Module) -> None:
    torch.save({"encoder_q": network.state_dict(), "epoch": 1}, tmp_path / "m.pt")
    assert _same(dict(load("m.pt").weights), network)


def test_two_unknown_containers_are_an_error_that_names_them(tmp_path: Path, load: Load, network: nn.Module) -> None:
    torch.save({"teacher": network.state_dict(), "student": network.state_dict()}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"several sets of weights \(teacher, student\)"):
        load("m.pt")


def test_prefixes_are_cut_only_at_the_start_and_only_where_every_key_has_them() -> None:
    weight = torch.zeros(1)
    cut = state_dict.strip_prefixes
    assert list(cut({"module.model.a": weight, "module.model.b": weight})) == ["a", "b"]
    assert list(cut({"_orig_mod.a.model.b": weight})) == ["a.model.b"]
    assert list(cut({"module.a": weight, "b": weight})) == ["module.a", "b"]
    assert cut({}) == {}


@pytest.mark.parametrize(
    "name",
    ["model-00001-of-00002.safetensors", "pytorch_model-00002-of-00002.bin", "model.safetensors.index.json"],
)
def test_one_of_several_files_of_a_network_is_refused(name: str, tmp_path: Path, load: Load) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=f"{name} is not the whole network.*max_shard_size"):
        load(name)


def test_the_only_file_of_a_network_may_be_numbered(tmp_path: Path, load: Load, network: nn.Module) -> None:
    save_file(network.state_dict(), tmp_path / "model-00001-of-00001.safetensors")
    assert load("model-00001-of-00001.safetensors").weights.keys() == network.state_dict().keys()


def test_the_weights_of_a_zip_checkpoint_are_mapped_not_copied(tmp_path: Path, load: Load) -> None:
    torch.save({"w": torch.arange(1 << 20, dtype=torch.float32).view(1024, 1024)}, tmp_path / "m.pt")
    weight = load("m.pt").weights["w"]
    assert not weight.untyped_storage().resizable()
    assert weight[1, 0] == 1024


def _zip(path: Path, names: dict[str, bytes], *, compressed: bool = False) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)


def _torch_bytes(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>", "is a web page"),
        (b"\n <html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"not a checkpoint at all", "no checkpoint that can be read"),
        (_torch_bytes({"w": torch.ones(64, 64)})[:3000], "is a damaged zip file"),
        (_torch_bytes({"epoch": 3, "lr": 0.1}), r"holds no weights \(its keys: 'epoch', 'lr'\)"),
        (_torch_bytes([1, 2]), "holds no weights"),
    ],
)
def test_what_is_no_checkpoint_is_told_by_what_it_is(content: bytes, message: str, tmp_path: Path, load: Load) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load("m.pt")


def test_a_zip_that_torch_did_not_write_is_refused(tmp_path: Path, load: Load) -> None:
    _zip(tmp_path / "m.pt", {"weights/readme.txt": b"hello"})
    with pytest.raises(CheckpointError, match=r"torch\.save did not write it"):
        load("m.pt")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, load: Load) -> None:
    _zip(tmp_path / "m.pt", {"m/data.pkl": b"N.", "m/data/0": bytes(20 << 20)}, compressed=True)
    with pytest.raises(CheckpointError, match="is compressed or encrypted"):
        load("m.pt")


def test_a_zip_that_says_it_spans_disks_is_damaged(tmp_path: Path, load: Load) -> None:
    """Found by fuzzing: Python's zipfile raises where it is only asked whether this is one."""
    data = bytearray(_torch_bytes({"w": torch.ones(2)}))
    end = data.index(b"PK\x05\x06")
    data[end:end] = b"PK\x06\x07" + (7).to_bytes(4, "little") + bytes(8) + (9).to_bytes(4, "little")
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"m\.pt is a damaged zip file, .*zip64 end record is not where it should be"
    ):
        load("m.pt")


def test_a_torchscript_program_is_refused(tmp_path: Path, load: Load) -> None:
    _zip(tmp_path / "m.pt", {"m/data.pkl": b"N.", "m/constants.pkl": b"N."})
    with pytest.raises(UnsafeCheckpointError, match="TorchScript program"):
        load("m.pt")


def test_a_missing_file_is_told_with_where_it_was_looked_for(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"no file 'no.pt' in {tmp_path} or in {Path.cwd()}: check")):
        load("no.pt")
    with pytest.raises(CheckpointError, match=re.escape(f"no file '{tmp_path}/no.pt': check")):
        load(f"{tmp_path}/no.pt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=re.escape(f"no file 'no.pt' in {tmp_path}: check")):
        load("no.pt")


def test_an_unknown_suffix_is_told_with_the_known_ones(tmp_path: Path, load: Load) -> None:
    (tmp_path / "m.zip").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"one of \.pt, \.pth"):
        load("m.zip")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda ones: ones.to(torch.complex64), "complex"),
        (lambda ones: ones.to(torch.int8), "quantised or integer"),
        (lambda ones: torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8), "quantised or integer"),
        (lambda ones: ones.to_sparse(), "sparse"),
    ],
)
def test_convolution_weights_that_are_no_real_numbers_are_refused_by_name(
    make: Callable[[Tensor], Tensor], what: str, tmp_path: Path, load: Load
) -> None:
    torch.save({"conv.weight": make(torch.ones(2, 3, 3, 3))}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=f"layer conv.weight of .* is {what}"):
        load("m.pt")


def test_nan_and_integer_counters_pass(tmp_path: Path, load: Load) -> None:
    content = {"conv.weight": torch.full((1, 1, 3, 3), torch.nan), "steps": torch.tensor(3)}
    torch.save(content, tmp_path / "m.pt")
    weights = load("m.pt").weights
    assert weights["conv.weight"].isnan().all()
    assert weights["steps"] == 3


def test_a_state_dict_of_a_hundred_thousand_keys_is_read(tmp_path: Path, load: Load) -> None:
    shared = torch.zeros(2, 2)
    torch.save({f"module.layer{number}": shared for number in range(100_000)}, tmp_path / "m.pt")
    assert len(load("m.pt").weights) == 100_000


_LEAVES = st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.builds(lambda n: torch.zeros((2,) * n), st.integers(0, 4))
)
_KEYS = st.one_of(st.sampled_from([*state_dict.CONTAINERS, "optimizer", "a.weight", "module.b"]), st.text(max_size=4))
_CONTENTS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=4), st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(_CONTENTS)
@settings(max_examples=150, deadline=None)
def test_whatever_a_checkpoint_holds_only_our_errors_come_out(content: object) -> None:
    try:
        weights, _ = state_dict.find_state_dict(content, Path("m.pt"))
    except FilterlensError:
        return
    assert weights
    assert all(isinstance(value, Tensor) for value in weights.values())
    assert len(state_dict.strip_prefixes(weights)) == len(weights)


_VALID = [
    _torch_bytes({"state_dict": {"conv.weight": torch.ones(2, 3, 3, 3), "b": torch.ones(2)}, "epoch": 1}),
]
_file = io.BytesIO()
torch.save({"conv.weight": torch.ones(2, 3, 3, 3)}, _file, _use_new_zipfile_serialization=False)
_VALID.append(_file.getvalue())


@given(
    valid=st.sampled_from(_VALID),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_gives_weights_or_our_error_and_nothing_else(
    valid: bytes, flips: list[tuple[float, int]], cut: float, tmp_path: Path
) -> None:
    damaged = bytearray(valid[: int(len(valid) * (1 - cut / 4))])
    for place, value in flips:
        damaged[int(place * len(damaged))] = value
    path = tmp_path / "damaged.pt"
    path.write_bytes(damaged)
    try:
        weights, _ = state_dict.find_state_dict(checkpoint.read(path).content, path)
    except FilterlensError:
        return
    assert sum(value.numel() for value in weights.values()) <= len(damaged)
