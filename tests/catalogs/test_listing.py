"""Large catalogs are listed block by block, and refused where a table or a run cannot hold them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from filterlens.catalogs import Catalog, load_catalog
from filterlens.cli import catalogs as drawing
from filterlens.cli.app import app
from filterlens.commands import catalogs as listing
from filterlens.errors import InputError
from filterlens.lens import get_lens
from filterlens.runs.config import RunConfig


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = listing.catalogs("cifar10-linf")
    monkeypatch.setattr(listing, "_BLOCK", 7)
    pd.testing.assert_frame_equal(listing.catalogs("cifar10-linf"), whole)
    pd.testing.assert_frame_equal(listing.catalogs(load_catalog("cifar10-linf")), whole)
    empty = listing.catalogs(Catalog("none", (), Path()))
    assert (list(empty.columns), len(empty)) == (list(whole.columns), 0)


def test_too_many_models_are_not_drawn_but_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_MOST_DRAWN", 20)
    refused = CliRunner().invoke(app, ["catalogs", "fonts-linf"])
    assert isinstance(refused.exception, InputError)
    assert "fonts-linf lists 21 models, too many to draw: choose some with --models" in str(refused.exception)
    for words in (["--models", "*-s0"], ["--format", "csv"]):
        assert CliRunner().invoke(app, ["catalogs", "fonts-linf", *words]).exit_code == 0


def test_a_run_of_too_many_models_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = import_module("filterlens.runs.remaining")  # the package has a function of that name
    monkeypatch.setattr(limits, "_MOST", 20)
    config = RunConfig(lenses={"filters": get_lens("filters").options.paper()})
    catalog = load_catalog("fonts-linf")
    with pytest.raises(
        InputError, match="fonts-linf has 21 models, and a run at most 20: audit some of them with --models"
    ):
        limits.remaining(catalog, tmp_path / "run", config)
    assert limits.remaining(catalog.select(["*-s0"]), tmp_path / "run", config).models < 20
