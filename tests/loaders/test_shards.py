"""`PATH.safetensors#NAME`: one of many models in a file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_zoo import weights
from typer.testing import CliRunner

import filterlens
from filterlens.catalogs import Entry
from filterlens.cli.app import app
from filterlens.errors import CheckpointError
from filterlens.loaders import absolute_source, load_model, local_files, source_digest, split_member
from filterlens.loaders.shards import open_shard
from filterlens.tracing.convolutions import weight_convolutions


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Two models, one's names with a slash, the other's with a dot, and a third whose name begins as the first's."""
    path = tmp_path / "zoo.safetensors"
    models = {"run1/": weights(0), "run2.": weights(1), "run10/": weights(2)}
    save_file({f"{prefix}{name}": w for prefix, state in models.items() for name, w in state.items()}, path)
    return path


def load(path: Path, name: str) -> dict[str, torch.Tensor]:
    entry = Entry(model_id="a", source=f"{path.name}#{name}")
    return dict(load_model(entry, path.parent).weights)


@pytest.mark.parametrize(("name", "seed"), [("run1", 0), ("run2", 1), ("run10", 2)])
def test_a_model_of_a_shard_has_its_own_tensors_only(shard: Path, name: str, seed: int) -> None:
    found = load(shard, name)
    assert found.keys() == weights(seed).keys()
    assert all(torch.equal(found[key], value) for key, value in weights(seed).items())


def test_layers_that_are_numbered_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    state = {f"features.{n}.weight": torch.randn(4, 4, 3, 3) for n in (0, 3, 7, 10, 14)}
    state |= {"stem.weight": torch.randn(4, 3, 3, 3), f"head.{'9' * 5000}": torch.zeros(1)}
    save_file(state, tmp_path / "whole.safetensors")
    save_file({f"a/{name}": w for name, w in state.items()}, tmp_path / "shard.safetensors")
    expected = [f"head.{'9' * 5000}", *(f"features.{n}.weight" for n in (0, 3, 7, 10, 14)), "stem.weight"]
    expected.sort(key=lambda name: name.split(".")[0])
    whole = load_model(Entry(model_id="a", source="whole.safetensors"), tmp_path).weights
    assert list(whole) == expected
    assert list(load(tmp_path / "shard.safetensors", "a")) == expected
    assert [layer.name for layer in weight_convolutions(whole)][:4] == [f"features.{n}" for n in (0, 3, 7, 10)]


def test_every_type_and_an_empty_tensor_come_as_they_were_saved(tmp_path: Path) -> None:
    saved = {
        "a/half": torch.randn(2, 3, dtype=torch.float16),
        "a/brain": torch.randn(3, dtype=torch.bfloat16),
        "a/double": torch.randn(2, dtype=torch.float64),
        "a/whole": torch.arange(5),
        "a/flag": torch.tensor([True, False, True]),
        "a/none": torch.empty(0, 3),
        "a/scalar": torch.tensor(2.5),
    }
    save_file(saved, tmp_path / "types.safetensors")
    found = load(tmp_path / "types.safetensors", "a")
    assert {f"a/{name}" for name in found} == set(saved)
    for name, tensor in found.items():
        whole = saved[f"a/{name}"]
        assert tensor.dtype == whole.dtype
        assert torch.equal(tensor, whole)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("run3", r"zoo.safetensors holds no model 'run3': did you mean run"),
        ("zzz", r"holds no model 'zzz': there are run1, run10, run2"),
        ("", r"holds no model ''"),
        ("run", r"holds no model 'run'"),
        ("run1/stem", r"holds no model 'run1/st"),
    ],
)
def test_a_wrong_name_is_refused_with_names_near_it(shard: Path, name: str, said: str) -> None:
    if name == "run1/stem":
        assert list(load(shard, name)) == ["weight"]  # a part of a model is a model
        return
    with pytest.raises(CheckpointError, match=said) as caught:
        load(shard, name)
    assert "\n" not in str(caught.value)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    save_file({"a/w": torch.ones(2, 2), "a.w": torch.zeros(2, 2)}, tmp_path / "two.safetensors")
    with pytest.raises(CheckpointError, match=r"holds tensors named a/… and a\.…: rename"):
        load(tmp_path / "two.safetensors", "a")


@pytest.mark.parametrize("damage", ["cut", "header", "empty"])
def test_a_damaged_shard_is_one_line(shard: Path, damage: str) -> None:
    content = shard.read_bytes()
    shard.write_bytes({"cut": content[:-8], "header": b"\xff" * 8 + content[8:], "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=r"zoo.safetensors is no safetensors file that can be read") as caught:
        load(shard, "run1")
    assert "\n" not in str(caught.value)


def test_what_decides_a_models_numbers_is_its_own_tensors(shard: Path, tmp_path: Path) -> None:
    before = source_digest("zoo.safetensors#run1", tmp_path)
    other = source_digest("zoo.safetensors#run2", tmp_path)
    models = {"run1/": weights(0), "run2/": weights(5), "added/": weights(6)}
    save_file({f"{prefix}{name}": w for prefix, state in models.items() for name, w in state.items()}, shard)
    assert source_digest("zoo.safetensors#run1", tmp_path) == before
    assert source_digest("zoo.safetensors#run2", tmp_path) != other
    assert source_digest("zoo.safetensors#added", tmp_path) != before


def test_a_changed_file_is_read_anew(shard: Path) -> None:
    assert torch.equal(load(shard, "run1")["stem.weight"], weights(0)["stem.weight"])
    save_file({f"run1/{name}": w for name, w in weights(7).items()}, shard)
    assert torch.equal(load(shard, "run1")["stem.weight"], weights(7)["stem.weight"])


def test_sources_are_split_named_and_made_absolute(shard: Path, tmp_path: Path) -> None:
    assert split_member("a#b.safetensors#c#d/e") == ("a#b.safetensors", "c#d/e")
    assert split_member("model.pt#a") is None
    assert local_files("zoo.safetensors#run1", tmp_path) == [shard]
    assert absolute_source("zoo.safetensors#run1", tmp_path) == f"{shard}#run1"


def test_inspect_compare_and_check_take_a_model_of_a_shard(shard: Path, tmp_path: Path) -> None:
    save_file(weights(0), tmp_path / "alone.safetensors")
    found = filterlens.inspect(f"{shard}#run1").layers.drop(columns="model_id")
    alone = filterlens.inspect(str(tmp_path / "alone.safetensors")).layers.drop(columns="model_id")
    assert found.equals(alone)
    change = filterlens.compare(f"{shard}#run1", str(tmp_path / "alone.safetensors"))
    assert (change["difference"].fillna(0) == 0).all()
    passed = CliRunner().invoke(app, ["check", f"{shard}#run1", "--max-sparsity", "0.9"])
    assert passed.exit_code == 0, passed.output
    wrong = CliRunner().invoke(app, ["inspect", f"{shard}#run7"])
    assert wrong.exit_code != 0
    assert "Traceback" not in wrong.output


def test_a_changed_file_is_refused_or_read_as_the_library_reads_it(shard: Path, tmp_path: Path) -> None:
    """Two readers may not disagree: 600 mutants, half of them changed in the header only."""
    whole, chance = shard.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    refused: list[str] = []
    for number in range(600):
        changed = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            changed[chance.randrange(header if number % 2 else len(whole))] = chance.choice(b'09"[]{},:./zF\0\xff')
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(changed[: chance.choice((len(whole), len(whole), len(whole) - 1))])
        try:
            found = {name: open_shard(path).tensors(name) for name in ("run1", "run2")}
        except CheckpointError as error:
            refused.append(str(error))
            continue
        with safe_open(path, framework="pt") as file:
            theirs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        for name, separator in (("run1", "/"), ("run2", ".")):
            assert found[name], name
            for own, tensor in found[name].items():
                other = theirs[f"{name}{separator}{own}"]
                assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape)
                assert tensor.view(torch.uint8).equal(other.view(torch.uint8)) if tensor.numel() else True
    assert 100 < len(refused) < 500  # neither is idle
    assert not any("\n" in text for text in refused)


@pytest.mark.parametrize(
    "shape", [[1 << 61, 1 << 61, 0], [1 << 62, 0], [0] * 65, [1 << 63, 0], [-1, 0], [True, 0], [1.0, 0], "zq7x"]
)
def test_a_shape_that_no_tensor_has_is_refused_in_one_line(tmp_path: Path, shape: object) -> None:
    text = json.dumps({"a/x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError) as caught:
        load(path, "a")
    assert "\n" not in str(caught.value)
