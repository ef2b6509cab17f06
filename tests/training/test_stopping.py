"""Which epoch a training gives back: rules on a log, and whole trainings, killed ones too."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from filterlens.errors import CheckpointError, InputError
from filterlens.training.augment import Crops, auto_augmented
from filterlens.training.data import TrainingData
from filterlens.training.loop import Step, train
from filterlens.training.plan import TrainingPlan
from filterlens.training.recipes import TrainingBatch
from filterlens.training.stopping import VALIDATION, judge

TINY = TrainingPlan(
    "pgd", "vgg_maxpool", epochs=4, images=56, batch_size=16, steps=1, test_images=8, test_steps=1, eps=0.1
)


class KilledError(Exception):
    pass


def same(first: Path, second: Path) -> bool:
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def aliasing(*values: float) -> list[dict[str, float]]:
    return [{"aliasing_relative": value} for value in values]


def test_the_first_of_the_most_robust_epochs_is_kept_and_training_goes_on() -> None:
    log = [{VALIDATION: value} for value in (0.1, 0.4, 0.3, 0.4, 0.2)]
    assert [judge("pgd", log[: i + 1]) for i in range(5)] == [
        (0, False), (1, False), (1, False), (1, False), (1, False),
    ]  # fmt: skip


def test_a_jump_of_aliasing_ends_it_and_gives_back_the_epoch_before() -> None:
    slow = (0.20, 0.21, 0.22, 0.23, 0.24)
    assert judge("aliasing", aliasing(*slow)) == (4, False)
    assert judge("aliasing", aliasing(*slow, 0.40)) == (4, True)
    assert judge("aliasing", aliasing(*slow, 0.40, 0.20)) == (4, True)  # what came after does not matter


def test_without_a_rule_it_is_the_last_epoch() -> None:
    assert judge("", [{}, {}, {}]) == (2, False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopping")
    train(replace(TINY, stopping="pgd"), folder, checkpoints=True)
    return folder


def accuracies(folder: Path) -> list[float]:
    with (folder / "log.csv").open(newline="") as file:
        return [float(row[VALIDATION]) for row in csv.DictReader(file)]


def test_the_weights_are_those_of_the_epoch_that_is_given_back(finished: Path) -> None:
    best = int(np.argmax(accuracies(finished)))
    assert len(accuracies(finished)) == 4
    assert same(finished / "weights.safetensors", finished / "checkpoints" / f"epoch-{best:03d}.safetensors")
    trained = train(replace(TINY, stopping="pgd"), finished)
    weights = load_file(finished / "weights.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in trained.model.state_dict().items())
    assert not trained.model.training


def test_an_epoch_before_the_last_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filterlens.training.state.judge", lambda _, log: (min(1, len(log) - 1), False))
    train(replace(TINY, stopping="pgd"), tmp_path, checkpoints=True)
    assert same(tmp_path / "weights.safetensors", tmp_path / "checkpoints" / "epoch-001.safetensors")
    assert not same(tmp_path / "weights.safetensors", tmp_path / "checkpoints" / "epoch-003.safetensors")


def test_a_killed_training_gives_back_the_same(finished: Path, tmp_path: Path) -> None:
    def kill(step: Step) -> None:
        if step.done == 8:  # within the third epoch
            raise KilledError

    with pytest.raises(KilledError):
        train(replace(TINY, stopping="pgd"), tmp_path, progress=kill)
    train(replace(TINY, stopping="pgd"), tmp_path)
    assert accuracies(tmp_path) == accuracies(finished)
    assert same(tmp_path / "weights.safetensors", finished / "weights.safetensors")


def test_a_training_that_ended_early_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("loop", "state"):
        monkeypatch.setattr(f"filterlens.training.{place}.judge", lambda _, log: (0, len(log) == 2))
    plan = replace(TINY, stopping="aliasing")
    assert len(train(plan, tmp_path, checkpoints=True).log) == 2
    assert same(tmp_path / "weights.safetensors", tmp_path / "checkpoints" / "epoch-000.safetensors")
    steps: list[Step] = []
    assert len(train(plan, tmp_path, progress=steps.append).log) == 2
    assert steps == []
    (tmp_path / "kept.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"kept\.safetensors cannot be read"):
        train(plan, tmp_path)


@pytest.mark.parametrize("augment", [False, True])
def test_what_is_held_out_is_never_trained_on(augment: bool) -> None:
    images = torch.arange(20).reshape(20, 1, 1, 1).expand(20, 1, 8, 8) / 255
    data = TrainingData(TrainingBatch(images, torch.arange(20)), classes=20, digest="", augment=augment)
    rest, held = data.held_out(5)
    assert (len(rest), len(data)) == (15, 20)
    assert held.labels.tolist() == [0, 5, 10, 14, 19]
    assert torch.allclose(held.images, images[held.labels])
    seen = torch.cat([batch.labels for batch in rest.batches(5, 0, 0)])
    assert sorted([*seen.tolist(), *held.labels.tolist()]) == list(range(20))
    assert len(torch.cat([batch.labels for batch in data.batches(5, 0, 0)])) == 20
    with pytest.raises(InputError, match="20 of 20 training images cannot be held out"):
        data.held_out(20)


def test_crops_give_images_as_they_are() -> None:
    images = (torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    assert torch.allclose(Crops(images).whole(torch.tensor([2, 0])), images[[2, 0]])


@pytest.mark.parametrize("channels", [1, 3])
def test_auto_augment_depends_on_its_generator_alone_and_leaves_torchs_own(channels: int) -> None:
    images = torch.rand(40, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (auto_augmented(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert 0 <= first.min() <= first.max() <= 1
    moved = (first - (images * 255).round() / 255).abs().flatten(1).amax(dim=1) > 1e-6
    assert 20 < int(moved.sum()) <= 40  # a sub-policy's parts are applied with some probability


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stopping": "x"}, "stopping is pgd or aliasing, or none; got 'x'"),
        ({"manifold": "m.safetensors"}, "a manifold is for the recipe on-manifold, not for pgd"),
        ({"recipe": "on-manifold", "auto_augment": True}, "moves images off FONTS' known manifold"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(TINY, **changes)
