"""Training is deterministic, logs every epoch, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from filterlens.errors import CheckpointError, InputError
from filterlens.training.augment import noisy_labels
from filterlens.training.loop import Step, train
from filterlens.training.plan import TrainingPlan

TINY = TrainingPlan(
    "pgd", "vgg_maxpool", epochs=3, images=48, batch_size=16, steps=1, test_images=8, test_steps=1, eps=0.1
)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(TINY, folder, checkpoints=True)
    return folder


def same(first: Path, second: Path) -> bool:
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_killed_training_resumes_to_the_same_weights(finished: Path, tmp_path: Path) -> None:
    def kill(step: Step) -> None:
        if step.done == 5:  # within the second epoch
            raise KilledError

    with pytest.raises(KilledError):
        train(TINY, tmp_path, progress=kill)
    assert not same(tmp_path / "weights.safetensors", finished / "weights.safetensors")
    trained = train(TINY, tmp_path)
    assert len(trained.log) == 3
    assert same(tmp_path / "weights.safetensors", finished / "weights.safetensors")
    assert same(tmp_path / "state.safetensors", finished / "state.safetensors")


def test_a_finished_training_is_not_repeated(finished: Path) -> None:
    before = (finished / "weights.safetensors").stat().st_mtime_ns
    steps: list[Step] = []
    trained = train(TINY, finished, progress=steps.append)
    assert steps == []
    assert len(trained.log) == 3
    assert not trained.model.training
    assert (finished / "weights.safetensors").stat().st_mtime_ns == before


def test_another_seed_gives_other_weights(finished: Path, tmp_path: Path) -> None:
    train(replace(TINY, seed=1), tmp_path)
    assert not same(tmp_path / "weights.safetensors", finished / "weights.safetensors")


def test_the_log_has_a_row_an_epoch_with_every_score(finished: Path) -> None:
    with (finished / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [0, 1, 2]
    for row in rows:
        assert 0 <= float(row["robust_accuracy"]) <= float(row["clean_accuracy"]) <= 1
        assert float(row["robust_loss"]) >= float(row["clean_loss"]) > 0
        assert 0 <= float(row["sparsity"]) <= 1
        assert 0 < float(row["orthogonality"]) <= 1
        assert 0 < float(row["variance_entropy"]) < 0.955
        assert 0 < float(row["alias_energy"]) < 1
        assert float(row["aliasing_relative"]) > 0
        assert float(row["aliasing"]) > 0


def test_every_epochs_weights_are_kept_on_request(finished: Path) -> None:
    kept = sorted((finished / "checkpoints").iterdir())
    assert [path.name for path in kept] == [f"epoch-{i:03d}.safetensors" for i in range(3)]
    assert same(kept[-1], finished / "weights.safetensors")
    assert not same(kept[0], kept[1])


def test_progress_tells_every_step_and_every_row(tmp_path: Path) -> None:
    steps: list[Step] = []
    train(TINY, tmp_path, progress=steps.append)
    assert [step.done for step in steps] == list(range(1, 10))
    assert [step.done for step in steps if step.row is not None] == [3, 6, 9]
    assert not (tmp_path / "checkpoints").exists()


def test_another_plan_in_the_same_folder_is_refused(finished: Path) -> None:
    with pytest.raises(InputError, match="holds a training of another plan"):
        train(replace(TINY, eps=0.2), finished)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(CheckpointError, match="remove it to start again"):
        train(TINY, tmp_path)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"images": 8}, {"seed": -1}, {"steps": 0}, {"replays": 0}])
def test_a_plan_without_steps_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="at least one epoch, step, replay and test image"):
        replace(TINY, **change)


@pytest.mark.parametrize("change", [{"eps": 0.0}, {"warmup": 1.0}, {"learning_rate": -1.0}])
def test_a_plan_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="are positive, warmup lies in"):
        replace(TINY, **change)


def test_a_device_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'gpu7' is no device"):
        train(replace(TINY, device="gpu7"), tmp_path)


def test_free_training_replays_each_batch_and_takes_no_more_steps_than_another(tmp_path: Path) -> None:
    steps: list[Step] = []
    plan = replace(TINY, recipe="free", epochs=1, images=80, replays=2)  # five batches: two of them, twice each
    train(plan, tmp_path, progress=steps.append)
    assert [step.done for step in steps] == [1, 2, 3, 4]
    assert len(train(replace(plan, replays=8), tmp_path / "more").log) == 1


def test_a_share_of_labels_is_drawn_anew_every_epoch_and_again_after_a_kill(tmp_path: Path) -> None:
    plan = replace(TINY, epochs=2, label_noise=0.5)

    def kill(step: Step) -> None:
        if step.done == 4:
            raise KilledError

    train(plan, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(plan, tmp_path / "stopped", progress=kill)
    train(plan, tmp_path / "stopped")
    train(replace(plan, label_noise=0.0), tmp_path / "without")
    whole, stopped, without = (tmp_path / name / "weights.safetensors" for name in ("whole", "stopped", "without"))
    assert same(whole, stopped)
    assert not same(whole, without)


def test_noisy_labels_are_uniform_over_the_classes() -> None:
    labels = torch.full((40_000,), 3)
    noisy = noisy_labels(labels, 0.4, classes=10, generator=torch.Generator().manual_seed(0))
    counts = noisy.bincount(minlength=10) / len(labels)
    expected = torch.full((10,), 0.04)
    expected[3] = 0.64
    assert torch.allclose(counts, expected, atol=0.01)
    assert (labels == 3).all()
    with pytest.raises(InputError, match="label_noise lie in"):
        replace(TINY, label_noise=1.0)
