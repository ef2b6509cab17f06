"""`compare` does not compare filters of different sizes, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app


def checkpoint(path: Path, size: int, *, seed: int) -> Path:
    generator = torch.Generator().manual_seed(seed)
    weights = {
        "stem.weight": torch.randn(8, 3, size, size, generator=generator),
        "body.weight": torch.randn(8, 8, size, size, generator=generator),
        "head.weight": torch.randn(10, 8, generator=generator),
    }
    torch.save(weights, path)
    return path


def test_means_and_layers_of_unlike_filters_have_no_difference(tmp_path: Path) -> None:
    small, wide = checkpoint(tmp_path / "a.pt", 3, seed=0), checkpoint(tmp_path / "b.pt", 5, seed=1)
    table = filterlens.compare(small, wide, lenses=["filters", "frequency", "spectra"])
    filters = table[table["metric"].isin(["sparsity", "orthogonality", "low_frequency_share"])]
    assert len(filters) == 9  # the mean and two layers of each
    assert filters[["first", "second"]].notna().all(axis=None)
    assert filters["difference"].isna().all()
    assert filters["note"].str.contains("not compared: filters of 3x3 and of 5x5", regex=False).all()
    spectra = table[table["metric"] == "stable_rank"]
    assert spectra["difference"].notna().all()
    assert not spectra["note"].str.contains("not compared").any()


@pytest.mark.parametrize("size", [3, 5])
def test_filters_of_one_size_are_compared_whatever_the_size(tmp_path: Path, size: int) -> None:
    one, other = checkpoint(tmp_path / "a.pt", size, seed=0), checkpoint(tmp_path / "b.pt", size, seed=1)
    table = filterlens.compare(one, other, lenses=["filters"])
    assert (table["difference"] == table["second"] - table["first"]).all()
    assert not table["note"].str.contains("not compared").any()


def test_the_command_says_so(tmp_path: Path) -> None:
    small, wide = checkpoint(tmp_path / "a.pt", 3, seed=0), checkpoint(tmp_path / "b.pt", 7, seed=1)
    said = CliRunner().invoke(app, ["compare", str(small), str(wide)])
    assert said.exit_code == 0, said.output
    assert "filters of 3x3 and of 7x7" in " ".join(said.output.split())
