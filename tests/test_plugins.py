"""A third-party lens, exactly as the docs show it, runs through entry point, dump and score table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from small_zoo import make_zoo, weights

from filterlens import lenses
from filterlens.catalogs import load_catalog
from filterlens.errors import InputError
from filterlens.pipeline import analyze, extract

PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    points = [EntryPoint("kurtosis", "kurtosis_lens:LENS", "filterlens.lenses")]
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.setattr(lenses, "entry_points", lambda group: points if group == "filterlens.lenses" else [])
    lenses.all_lenses.cache_clear()
    yield points
    lenses.all_lenses.cache_clear()
    sys.modules.pop("kurtosis_lens", None)


def test_a_third_party_lens_scores_models(installed: list[EntryPoint], tmp_path: Path) -> None:
    catalog = load_catalog(make_zoo(tmp_path / "zoo"))
    extract(catalog, tmp_path / "run", lenses=["filters", "kurtosis"])
    scores = analyze(tmp_path / "run")
    mine = scores[(scores["lens"] == "kurtosis") & (scores["model_id"] == "net0-robust")].set_index("layer")["value"]
    weight = weights(1)["stem.weight"]
    expected = ((weight - weight.mean()) ** 4).mean() / weight.var(correction=0) ** 2
    torch.testing.assert_close(torch.tensor(mine["stem"]), expected, check_dtype=False)


def test_two_lenses_of_one_name_are_refused(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("again", "kurtosis_lens:LENS", "filterlens.lenses"))
    with pytest.raises(InputError, match="two lenses are called 'kurtosis'"):
        lenses.all_lenses()


def test_an_entry_point_that_is_no_lens_is_refused(installed: list[EntryPoint]) -> None:
    installed[0] = EntryPoint("kurtosis", "kurtosis_lens:extract", "filterlens.lenses")
    with pytest.raises(InputError, match=r"kurtosis_lens:extract is no filterlens\.Lens"):
        lenses.all_lenses()


def test_an_entry_point_that_cannot_be_imported_is_named(installed: list[EntryPoint]) -> None:
    installed[0] = EntryPoint("gone", "no_such_module:LENS", "filterlens.lenses")
    with pytest.raises(InputError, match="the lens 'gone' of no_such_module:LENS cannot be imported"):
        lenses.all_lenses()
