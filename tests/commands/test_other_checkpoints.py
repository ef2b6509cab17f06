"""`inspect` and `compare` of checkpoints that hold no convolution, such as a language model's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.errors import CheckpointError, FilterlensError


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Two checkpoints of a small GPT-2 as transformers names its weights."""
    paths = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        shapes = {"wte": (90, 24), "wpe": (30, 24), "h.0.attn.c_attn": (24, 72), "h.0.mlp.c_fc": (24, 96)}
        weights = {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        paths.append(tmp_path / f"gpt{seed}.safetensors")
        save_file(weights | {"ln_f.weight": torch.ones(24), "ln_f.bias": torch.zeros(24)}, paths[-1])
    return paths[0], paths[1]


REASONS = [
    "the filters lens does not apply: holds no convolution weights: there are no filters to look at",
    "the frequency lens does not apply: holds no convolution weights: there are no filters to look at",
    "downsampling, robustness, perturbation, corruption, flatness, manifold: "
    "need images, and a network that takes them",
]


def test_a_language_model_is_inspected_by_its_spectra(models: tuple[Path, Path]) -> None:
    found = filterlens.inspect(models[0])
    names = [f"h.0.attn.c_attn.{part}" for part in ("query", "key", "value")]
    assert set(found.layers["layer"]) == {"wte", "wpe", "h.0.mlp.c_fc", *names}
    assert set(found.layers["lens"]) == {"spectra"}
    norms = found.layers[found.layers["metric"] == "frobenius_norm"].set_index("layer")["value"]
    weight = torch.randn(90, 24, generator=torch.Generator().manual_seed(0))
    assert norms["wte"] == pytest.approx(float(weight.norm()))
    assert list(found.left_out) == REASONS


def test_two_language_models_are_compared_matrix_by_matrix(models: tuple[Path, Path]) -> None:
    table = filterlens.compare(*models)
    assert table.attrs["left_out"] == REASONS
    same = filterlens.compare(models[0], models[0])
    assert (same["difference"].dropna() == 0).all()
    assert (table["difference"].dropna() != 0).mean() > 0.8


def test_the_command_line_says_what_does_not_apply(models: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(app, ["inspect", str(models[0]), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["left_out"] == REASONS
    done = CliRunner().invoke(app, ["compare", *map(str, models)])
    assert done.exit_code == 0, done.output
    assert all(reason in " ".join(done.output.split()) for reason in REASONS)


def test_a_lens_that_applies_is_not_replaced_and_one_that_does_not_is_left_out(models: tuple[Path, Path]) -> None:
    found = filterlens.inspect(models[0], lenses=["filters", "spectra"])
    assert set(found.layers["lens"]) == {"spectra"}
    assert list(found.left_out) == [REASONS[0], REASONS[2]]


def test_a_checkpoint_without_any_matrix_and_a_check_are_refused(tmp_path: Path, models: tuple[Path, Path]) -> None:
    path = tmp_path / "norms.safetensors"
    save_file({"norm.weight": torch.ones(9)}, path)
    with pytest.raises(CheckpointError, match=r"filters: norms\.safetensors holds no convolution weights"):
        filterlens.inspect(path)
    with pytest.raises(FilterlensError, match="holds no convolution weights"):
        filterlens.check(models[0], bounds=["max-sparsity=0.5"])
