from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from filterlens.cli.app import app
from filterlens.manifolds.learned import read_card
from filterlens.studies import flatness, manifold
from filterlens.studies.flatness import FlatnessStudy
from filterlens.studies.manifold import Study


def test_an_unknown_study_or_preset_is_refused() -> None:
    run = CliRunner().invoke
    assert run(app, ["study", "frogs"]).exit_code == 2
    for name in ("manifold", "flatness"):
        error = run(app, ["study", name, "--preset", "huge"]).exception
        assert "choose one of small, full" in str(error)


@pytest.mark.slow
def test_the_study_of_flatness_prints_methods_and_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = FlatnessStudy(
        "fonts", "vgg_maxpool", images=30, validation=10, seeds=1, eps=0.1, test_images=6,
        plan={"epochs": 1, "batch_size": 15, "steps": 1, "test_steps": 1},
        flatness={"steps": 1, "average": 1, "worst": 1, "positions": (0.0,)}, robustness={"restarts": 1},
        methods=("adversarial", "SiLU"),
    )  # fmt: skip
    monkeypatch.setitem(flatness.PRESETS, "small", tiny)
    result = CliRunner().invoke(app, ["study", "flatness", "--out", str(tmp_path), "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert "| SiLU | early | 1 |" in result.output
    assert "1. flatter goes with a smaller robust gap" in result.output


@pytest.mark.slow
def test_a_study_prints_its_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Study(((40, 1),), seeds=1, images=6, test_images=20, steps=1, fast=True, batch_size=20)
    monkeypatch.setitem(manifold.PRESETS, "small", tiny)
    result = CliRunner().invoke(app, ["study", "manifold", "--out", str(tmp_path), "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert "3. on-manifold robustness is generalisation" in result.output
    assert "claims.csv" in result.output


def test_a_manifold_is_trained_and_its_error_said(tmp_path: Path) -> None:
    command = ["train", "manifold", "--data", "fonts", "-n", "60", "--epochs", "1", "--latents", "4"]
    command += ["--out", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "epoch 1/1: reconstruction" in result.output
    card = read_card(tmp_path / "manifold.safetensors")
    assert card["images"] == 60
    assert card["fit"]["latent"] == 4
