"""Training on photographs: crops, SGD, a cyclic rate, bfloat16, an archive that moves, and the zoo on CIFAR-10."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from filterlens.catalogs import Entry, load_catalog
from filterlens.commands.train import train as train_command
from filterlens.commands.train import train_zoo as zoo_command
from filterlens.errors import InputError
from filterlens.loaders import load_model
from filterlens.training import loop, state
from filterlens.training.augment import Crops
from filterlens.training.cifar_zoo import CIFAR_ZOO
from filterlens.training.loop import train
from filterlens.training.plan import Schedule, TrainingPlan, computes_bfloat16
from filterlens.training.zoo import train_zoo

TINY: dict[str, Any] = {
    "epochs": 2, "images": 32, "batch_size": 8, "width": 4, "test_images": 8, "test_steps": 1, "steps": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in ten classes, with splits."""
    path = tmp_path_factory.mktemp("data") / "noise.zip"
    noise = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as out:
        for split, n in (("train", 4), ("test", 2)):
            for name in "abcdefghij":
                for i in range(n):
                    picture = io.BytesIO()
                    Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(picture, "PNG")
                    out.writestr(f"{split}/{name}/{i}.png", picture.getvalue())
    return path


def plan(archive: Path, recipe: str = "fgsm", architecture: str = "vgg_maxpool", **settings: Any) -> TrainingPlan:
    return TrainingPlan.for_photographs(recipe, architecture, str(archive), **(TINY | settings))


def same(first: Path, second: Path) -> bool:
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_crops_are_windows_of_the_padded_image_and_every_second_one_is_mirrored() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    crops = Crops(images, padding=2)(torch.tensor([1] * 400), torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(images[1], (2, 2, 2, 2))
    windows = [padded[:, i : i + 8, j : j + 8] for i in range(5) for j in range(5)]
    plain = [any(torch.equal(crop, window) for window in windows) for crop in crops]
    mirrored = [any(torch.equal(crop.flip(2), window) for window in windows) for crop in crops]
    assert all(a or b for a, b in zip(plain, mirrored, strict=True))
    assert 150 < sum(mirrored) < 250
    assert len({crop.numpy().tobytes() for crop in crops}) == 50  # every shift, plain and mirrored


@pytest.mark.parametrize(
    ("kind", "rates"),
    [
        ("cyclic", {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 0.5, 1.0: 0.0}),
        ("cosine", {0.1: 0.5, 0.2: 1.0, 0.6: 0.5, 1.0: 0.0}),
    ],
)
def test_the_rate_rises_over_a_fifth_and_falls_to_nothing(kind: Schedule, rates: dict[float, float]) -> None:
    assert [loop._schedule(share, kind) for share in rates] == pytest.approx(list(rates.values()))


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True, "avx512_bf16": False}, True), ({"avx2": True}, False)],
)
def test_bfloat16_is_the_default_only_where_the_processor_computes_it(
    instructions: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    default = TrainingPlan.for_photographs("pgd", "vgg_maxpool", "cifar10")
    assert (default.mixed_precision, default.half_precision) == (expected, expected)
    said = TrainingPlan.for_photographs("pgd", "vgg_maxpool", "cifar10", mixed_precision=not expected)
    assert said.mixed_precision is not expected
    assert not computes_bfloat16("mps")


@pytest.mark.parametrize("recipe", ["normal", "fgsm", "pgd", "trades", "free", "mart", "awp"])
def test_every_recipe_trains_on_photographs(archive: Path, tmp_path: Path, recipe: str) -> None:
    trained = train(plan(archive, recipe, epochs=1), tmp_path)
    with safe_open(trained.weights, framework="pt") as file:
        said = file.metadata()
    assert (said["in_channels"], said["classes"], said["width"]) == ("3", "10", "4")
    assert json.loads(said["plan"])["eps"] == pytest.approx(8 / 255)
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in trained.model.parameters())


def test_a_stopped_training_goes_on_to_the_same_weights_where_its_data_have_moved(
    archive: Path, tmp_path: Path
) -> None:
    train(plan(archive), tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(step: loop.Step) -> None:
        if step.done == 6:  # within the second epoch
            raise StoppedError

    with pytest.raises(StoppedError):
        train(plan(archive), tmp_path / "stopped", progress=stop)
    moved = tmp_path / "elsewhere.zip"
    moved.write_bytes(archive.read_bytes())
    trained = train(plan(moved), tmp_path / "stopped")
    assert len(trained.log) == 2
    assert same(tmp_path / "whole" / "weights.safetensors", tmp_path / "stopped" / "weights.safetensors")


def test_a_training_does_not_go_on_with_other_data(archive: Path, tmp_path: Path) -> None:
    def stop(step: loop.Step) -> None:
        if step.row is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(plan(archive), tmp_path / "out", progress=stop)
    other = tmp_path / "other.zip"
    other.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(InputError, match="holds a training on other data"):
        train(plan(other), tmp_path / "out")


def test_a_finished_training_needs_no_data(archive: Path, tmp_path: Path) -> None:
    train(plan(archive, epochs=1), tmp_path)
    again = train(plan(Path("gone.zip"), epochs=1), tmp_path)
    assert len(again.log) == 1
    assert again.model(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_a_state_of_before_photographs_is_taken_up(tmp_path: Path) -> None:
    """Its plan lacks the new fields, which are then what they were."""
    tiny = TrainingPlan("normal", "vgg_maxpool", epochs=1, images=16, batch_size=8, test_images=4, test_steps=1)
    new = {
        "data",
        "width",
        "blocks",
        "activation",
        "gamma",
        "label_smoothing",
        "optimiser",
        "schedule",
        "augment",
        "mixed_precision",
    }
    said = {name: value for name, value in asdict(tiny).items() if name not in new}
    assert state._is_of(tiny, said)
    assert not state._is_of(replace(tiny, width=8), said)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimiser": "adam"}, "optimisers are adamw and sgd"),
        ({"schedule": "step"}, "schedules cosine and cyclic"),
        ({"label_smoothing": 1.0}, "label_smoothing and label_noise lie in"),
        ({"batch_size": 64, "images": 64}, "40 images to train on, fewer than a batch of 64"),
        ({"width": 1}, "at least one block a stage and two channels"),
    ],
)
def test_plans_that_cannot_be_trained_are_refused(
    archive: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(plan(archive, **settings), tmp_path)


def test_the_command_trains_on_an_archive(archive: Path, tmp_path: Path) -> None:
    command = [
        "train", "fgsm", "--data", str(archive), "--arch", "resnet_strided", "--out", str(tmp_path / "out"),
        "--epochs", "1", "--images", "16", "--batch-size", "8", "--width", "4", "--blocks", "2",
        "--weight-decay", "0.001",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from filterlens.cli import main; main()", *command],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "weights:" in done.stdout
    source = f"bundled:resnet_strided?weights={tmp_path / 'out' / 'weights.safetensors'}"
    trained = load_model(Entry(model_id="own", source=source), tmp_path)
    assert trained.classifier is not None
    assert trained.classifier(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_the_pairs_of_the_zoo_share_everything_but_the_recipe_and_cover_what_they_should() -> None:
    plans = {member.name: member.plan for member in CIFAR_ZOO.members}
    matched = [member for member in CIFAR_ZOO.members if member.match]
    assert len(matched) == 8
    assert len({member.plan.architecture for member in matched}) == 4
    assert {member.plan.recipe for member in CIFAR_ZOO.members} == {"normal", "fgsm", "pgd", "trades", "free"}
    assert {member.plan.seed for member in matched} == {0, 1}
    for member in matched:
        assert replace(member.plan, recipe="normal") == plans[member.match]
    assert [m.name for m in CIFAR_ZOO.first_pairs(1)] == ["vgg_maxpool-fgsm-s0", "vgg_maxpool-normal-s0"]


def test_a_zoo_on_photographs_is_published_in_half_precision_and_skips_what_is_trained(
    archive: Path, tmp_path: Path
) -> None:
    members = tuple(replace(m, plan=replace(m.plan, **TINY)) for m in CIFAR_ZOO.members)
    zoo = replace(CIFAR_ZOO, members=members)
    how: dict[str, Any] = {"data": str(archive), "pairs": 1, "work": tmp_path / "work", "jobs": 1, "images": 4}
    card = train_zoo(zoo, tmp_path / "small", **how)
    assert "vgg_maxpool-fgsm-s0" in card.read_text(encoding="utf-8")
    trained = tmp_path / "work" / "vgg_maxpool-fgsm-s0" / "weights.safetensors"
    before = trained.stat().st_mtime_ns
    train_zoo(zoo, tmp_path / "small", **how)
    assert trained.stat().st_mtime_ns == before
    (pair,) = load_catalog(tmp_path / "small.csv").pairs()
    assert pair.robust.eps == 8 / 255
    assert pair.robust.source == "bundled:cifar10/vgg_maxpool-fgsm-s0"
    weights = load_file(tmp_path / "small" / "vgg_maxpool-fgsm-s0.safetensors")
    exact = load_file(trained)
    assert {value.dtype for value in weights.values()} == {torch.float16, torch.int64}
    assert all(torch.equal(weights[name], exact[name].to(weights[name].dtype)) for name in exact)
    with safe_open(tmp_path / "small" / "vgg_maxpool-fgsm-s0.safetensors", framework="pt") as file:
        said = file.metadata()
    assert [row["epoch"] for row in json.loads(said["log"])] == [0, 1]
    assert said["data_digest"].startswith("folder:")
    assert json.loads(said["plan"])["data"] == "cifar10"  # not where it happened to lie


def test_a_zoo_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no zoo 'imagenet' to train: choose one of fonts-linf, cifar10-small"):
        zoo_command(tmp_path, zoo="imagenet")
    with pytest.raises(InputError, match="is trained on FONTS, not on --data x"):
        zoo_command(tmp_path, data="x")
    with pytest.raises(InputError, match="0 pairs are none"):
        zoo_command(tmp_path, zoo="cifar10-small", pairs=0)


def test_the_twin_of_the_command_names_its_folder_after_the_data(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained = train_command("normal", data=str(archive), arch="vgg_maxpool", **(TINY | {"epochs": 1}))
    assert trained.weights == Path("trained/noise-normal-vgg_maxpool-s0/weights.safetensors")
