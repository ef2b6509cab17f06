from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from filterlens.errors import InputError, ReportError
from filterlens.loaders import load_model
from filterlens.report.data import read_run
from filterlens.studies.claims import study_models
from filterlens.studies.manifold import PRESETS, RECIPES, Study, Training, run_study, train_one

TINY = Study(((40, 1),), seeds=1, images=8, test_images=50, steps=1, fast=True, batch_size=20)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[tuple[str, int, int]]]:
    folder = tmp_path_factory.mktemp("study")
    heard = []
    page = run_study(TINY, folder, listener=lambda what, done, total: heard.append((what, done, total)))
    return folder, page, heard


def test_a_study_leaves_a_report_tables_and_claims(finished: tuple[Path, Path, list[tuple[str, int, int]]]) -> None:
    folder, page, heard = finished
    assert page.is_file()
    assert heard[0] == ("training", 0, 4)
    assert heard[-1][1:] == (4, 4)
    claims = pd.read_csv(folder / "claims.csv")
    assert claims["claim"].str[0].unique().tolist() == ["1", "2", "3", "4"]
    for name in ("study_sizes", "study_errors", "manifold_distances"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 5000


def test_every_network_is_trained_and_scored(finished: tuple[Path, Path, list[tuple[str, int, int]]]) -> None:
    folder, _, _ = finished
    models = study_models(read_run(folder))
    assert len(models) == 4
    assert set(models["recipe"]) == set(RECIPES)
    assert models["test_error"].between(0, 1).all()
    assert models["clean_error"].between(0, 1).all()
    assert (folder / "models" / "half-n40-s0" / "weights.safetensors").is_file()


def test_half_adversarial_networks_are_the_partners_of_normal_ones(
    finished: tuple[Path, Path, list[tuple[str, int, int]]],
) -> None:
    folder, _, _ = finished
    pairs = read_run(folder).catalog.pairs()
    assert [(p.robust.model_id, p.normal.model_id) for p in pairs] == [
        ("half-n40-s0", "normal-n40-s0"),
    ]


def test_a_finished_study_trains_and_attacks_nothing_again(
    finished: tuple[Path, Path, list[tuple[str, int, int]]],
) -> None:
    folder, _, _ = finished
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("models/*/weights.safetensors")}
    dumps = {path: path.stat().st_mtime_ns for path in folder.glob("dumps/*.h5")}
    run_study(TINY, folder)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in (stamps | dumps).items())


def test_the_catalogs_sources_load(finished: tuple[Path, Path, list[tuple[str, int, int]]]) -> None:
    folder, _, _ = finished
    entry = Training("normal", 40, 1, 0, TINY, folder, "cpu").entry
    assert load_model(entry, folder, allow_code=True).classifier is not None


def test_a_training_of_another_study_is_refused(finished: tuple[Path, Path, list[tuple[str, int, int]]]) -> None:
    folder, _, _ = finished
    other = Study(((40, 2),), seeds=1, images=8, test_images=50, steps=1, fast=True, batch_size=20)
    with pytest.raises(InputError, match="holds a training of another study"):
        train_one(Training("normal", 40, 2, 0, other, folder, "cpu"), lambda *_: None)


def test_the_test_error_is_kept_beside_the_weights(finished: tuple[Path, Path, list[tuple[str, int, int]]]) -> None:
    folder, _, _ = finished
    known = json.loads((folder / "models" / "normal-n40-s0" / "test_error.json").read_text())
    table = pd.read_csv(folder / "study.csv").set_index("model_id")
    assert table.loc["normal-n40-s0", "test_error"] == known["test_error"]


def test_a_folder_without_a_study_is_refused(
    finished: tuple[Path, Path, list[tuple[str, int, int]]], tmp_path: Path
) -> None:
    folder, _, _ = finished
    run = read_run(folder)
    elsewhere = type(run)(tmp_path, run.catalog, run.scores, run.ledger)
    with pytest.raises(ReportError, match="holds no study"):
        study_models(elsewhere)


def test_presets_have_the_papers_sizes() -> None:
    assert PRESETS["full"].sizes[0][0] == 250
    assert PRESETS["full"].sizes[-1][0] == 10_000
    assert PRESETS["small"].fast
    assert not PRESETS["full"].fast
