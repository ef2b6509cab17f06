from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from filterlens.errors import InputError, ReportError
from filterlens.inputs.fonts import load_fonts
from filterlens.loaders import load_model
from filterlens.report.correlation import rank_correlation
from filterlens.report.data import read_run
from filterlens.studies.flatness import (
    METHODS,
    PRESETS,
    FlatnessStudy,
    MethodTraining,
    run_flatness_study,
    study_images,
    train_method,
)
from filterlens.studies.flatness_table import flatness_claims, method_table, study_networks

TINY = FlatnessStudy(
    "fonts", "vgg_maxpool", images=40, validation=12, seeds=1, eps=0.1, test_images=10,
    plan={"epochs": 2, "batch_size": 20, "steps": 1, "test_steps": 1},
    flatness={"steps": 2, "average": 2, "worst": 1, "positions": (0.0,)}, robustness={"restarts": 1},
    methods=("normal", "adversarial", "label noise", "MART", "AWP γ=0.005"),
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[tuple[str, int, int]]]:
    folder = tmp_path_factory.mktemp("study")
    heard = []
    page = run_flatness_study(TINY, folder, listener=lambda what, done, total: heard.append((what, done, total)))
    return folder, page, heard


Finished = tuple[Path, Path, list[tuple[str, int, int]]]


def test_a_study_leaves_a_report_tables_and_claims(finished: Finished) -> None:
    folder, page, heard = finished
    assert page.is_file()
    assert heard[0] == ("training", 0, 5)
    assert heard[-1][1:] == (10, 10)
    assert pd.read_csv(folder / "claims.csv")["claim"].str[0].unique().tolist() == ["1", "2", "3"]
    methods = pd.read_csv(folder / "methods.csv")
    assert methods["method"].unique().tolist() == list(TINY.methods)
    assert methods[["robust_gap", "average_flatness", "worst_flatness", "clean_accuracy"]].notna().all().all()
    assert "| MART | early |" in (folder / "methods.md").read_text()
    assert (folder / "figures" / "study_gap.png").stat().st_size > 5000


def test_the_gap_is_against_the_images_that_were_trained_on(finished: Finished) -> None:
    folder, _, _ = finished
    train, held = study_images("fonts", 40, 12)
    kept = np.load(folder / "train.npz")
    assert (kept["images"] == train.pixels[:10]).all()
    every = load_fonts(52, 0, split="train").pixels
    assert {image.tobytes() for image in every} == {image.tobytes() for image in (*train.pixels, *held.pixels)}
    with read_run(folder).dump("adversarial-s0-last") as dump:
        assert dump.lens("flatness").attributes["train_images"] == 10


def test_early_stopping_takes_the_first_epoch_of_the_highest_robust_accuracy(finished: Finished) -> None:
    folder, _, _ = finished
    for name in ("adversarial-s0", "mart-s0"):
        place = folder / "models" / name
        accuracies = pd.read_csv(place / "log.csv")["robust_accuracy"].to_numpy()
        assert json.loads((place / "stopped.json").read_text())["epoch"] == int(accuracies.argmax())
        assert not list((place / "checkpoints").iterdir())
        last = load_file(place / "last.safetensors")
        trained = load_file(place / "weights.safetensors")
        assert all(torch.equal(last[key], trained[key]) for key in last)


def test_a_finished_study_trains_and_attacks_nothing_again(finished: Finished) -> None:
    folder, _, _ = finished
    files = [*folder.glob("models/*/*.safetensors"), *folder.glob("dumps/*.h5"), folder / "train.npz"]
    stamps = {path: path.stat().st_mtime_ns for path in files}
    run_flatness_study(TINY, folder)
    assert len(stamps) > 20
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_the_catalogs_sources_load_without_any_leave(finished: Finished) -> None:
    folder, _, _ = finished
    for entry in MethodTraining("AWP γ=0.005", 0, TINY, folder, "cpu").entries():
        assert load_model(entry, folder).classifier is not None
        assert entry.match == "normal-s0-last"


def test_a_training_of_another_study_is_refused(finished: Finished) -> None:
    folder, _, _ = finished
    other = replace(TINY, eps=0.2)
    with pytest.raises(InputError, match="holds a training of another study"):
        train_method(MethodTraining("adversarial", 0, other, folder, "cpu"), lambda *_: None)


def test_a_folder_without_a_study_is_refused(finished: Finished, tmp_path: Path) -> None:
    run = read_run(finished[0])
    with pytest.raises(ReportError, match="holds no study"):
        study_networks(type(run)(tmp_path, run.catalog, run.scores, run.ledger))


def test_too_few_images_are_said(tmp_path: Path) -> None:
    path = tmp_path / "few.npz"
    np.savez(path, images=np.zeros((9, 8, 8, 1), dtype=np.uint8), labels=np.zeros(9, dtype=np.int64))
    with pytest.raises(InputError, match=r"few\.npz has 9 training images: the study wants 12"):
        study_images(str(path), 10, 2)


def networks(gaps: list[float]) -> pd.DataFrame:
    rows = [
        {"method": f"m{i}", "seed": 0, "stopped": stopped, "robust": True, "robust_gap": gap - shift}
        | {"average_flatness": 2 * gap - shift, "worst_flatness": -gap, "flatness_reference_loss": gap}
        for i, gap in enumerate(gaps)
        for stopped, shift in (("last", 0.0), ("early", 0.5))
    ]
    normal = {"method": "n", "seed": 0, "stopped": "last", "robust": False, "robust_gap": -100.0}
    return pd.DataFrame([*rows, normal | {"average_flatness": 100.0, "worst_flatness": 1.0}])


def test_claims_are_of_adversarially_trained_networks_only() -> None:
    gaps = [0.1, 0.5, 0.3, 0.9, 0.7, 1.1]
    claims = flatness_claims(networks(gaps)).set_index("measure")
    average = claims.loc["Spearman, average-case flatness and robust gap, after the last epoch"]
    assert (average["value"], average["n"]) == (pytest.approx(1), 6)
    assert average["low"] == pytest.approx(rank_correlation(gaps, gaps).low)
    assert claims.loc["Spearman, worst-case flatness and robust loss, stopped early", "value"] == pytest.approx(-1)
    assert claims.loc["average-case flatness, stopped early − last", "value"] == pytest.approx(-0.5)
    assert claims.loc["worst-case flatness, stopped early − last", "value"] == 0


def test_the_table_of_methods_is_the_mean_over_seeds() -> None:
    both = pd.concat([networks([1.0, 2.0]), networks([2.0, 4.0]).assign(seed=1)])
    table = method_table(both).set_index(["method", "stopped"])
    assert table.loc[("m0", "last"), "robust_gap"] == 1.5
    assert table.loc[("m1", "early"), "average_flatness"] == 5.5
    assert table.loc[("m1", "early"), "networks"] == 2


def test_presets_compare_every_method_and_only_one_is_not_adversarial() -> None:
    assert PRESETS["small"].methods == PRESETS["full"].methods == tuple(METHODS)
    plans = [MethodTraining(m, 0, PRESETS[p], Path(), "cpu").plan for p in PRESETS for m in METHODS]
    assert len({str(plan) for plan in plans}) == 2 * len(METHODS)
    assert [plan.recipe for plan in plans].count("normal") == 2
    assert not any(plan.mixed_precision or plan.half_precision for plan in plans if plan.data == "fonts")
