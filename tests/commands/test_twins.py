"""Every command has a function of the same words, which returns tables or objects and prints nothing."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import torch
import typer
from small_zoo import make_zoo

import filterlens
from filterlens import functional
from filterlens.cli.app import app
from filterlens.commands.bounds import BoundCheck
from filterlens.commands.inspect import outstanding
from filterlens.errors import InputError

PGD = "fonts-linf/preact_resnet-pgd-s0"
NORMAL = "fonts-linf/preact_resnet-normal-s0"


def command_names() -> list[str]:
    """Every command in Python's words: `study filters` is `study_filters`."""
    found = []
    for name, command in typer.main.get_group(app).commands.items():
        below = getattr(command, "commands", None)
        found += [f"{name}_{sub}" for sub in below] if below else [name]
    return found


@pytest.mark.parametrize("name", command_names())
def test_every_command_has_a_documented_function_of_the_same_words(name: str) -> None:
    found = getattr(filterlens, name)
    assert name in filterlens.__all__
    assert inspect.isfunction(found)
    assert found.__doc__
    assert "Parameters\n" in found.__doc__ or not inspect.signature(found).parameters
    assert f"filterlens.{name}(" in found.__doc__


def test_functions_stay_where_modules_have_the_same_names() -> None:
    for module in pkgutil.iter_modules(filterlens.__path__):
        import_module(f"filterlens.{module.name}")
    for name in ("catalogs", "report", "score"):
        assert inspect.isfunction(getattr(filterlens, name)), name
        assert inspect.ismodule(sys.modules[f"filterlens.{name}"])


def test_the_pure_functions_are_in_one_place_and_load_nothing_before_they_are_used() -> None:
    code = "import sys, filterlens.functional; print('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    for name in functional.__all__:
        assert getattr(functional, name).__doc__, name
    assert functional.sparsity(torch.zeros(4, 4, 3, 3)) == 1.0
    assert functional.__dir__() == functional.__all__
    with pytest.raises(AttributeError, match="no attribute 'sparsety'"):
        _ = functional.sparsety


def test_inspect_finds_layers_places_and_what_stands_out(capfd: pytest.CaptureFixture[str]) -> None:
    found = filterlens.inspect(PGD)
    entropy, orthogonality = (
        next(place for place in found.places if place.metric == metric)
        for metric in ("variance_entropy", "orthogonality")
    )
    means = found.layers[found.layers["metric"] == "variance_entropy"]
    assert (entropy.looks, orthogonality.looks) == ("", "robust")
    assert entropy.value == pytest.approx((means["value"] * means["weight"]).sum() / means["weight"].sum())
    assert len(found.outstanding) <= 3
    assert (found.outstanding["z"].abs() > 3.5).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("last", "found"), [(0.56, []), (0.9, ["d"])])
def test_a_layer_stands_out_only_where_it_is_far_from_the_others(last: float, found: list[str]) -> None:
    scores = pd.DataFrame({"layer": list("abcd"), "metric": "sparsity", "value": [0.49, 0.5, 0.52, last]})
    assert outstanding(scores)["layer"].tolist() == found


def test_no_layer_of_random_filters_stands_out() -> None:
    values = [0.95401, 0.95402, 0.95403, 0.95302]  # far in spreads, near in itself
    assert outstanding(pd.DataFrame({"layer": list("abcd"), "metric": "variance_entropy", "value": values})).empty
    assert not outstanding(
        pd.DataFrame({"layer": list("abcd"), "metric": "variance_entropy", "value": [*values[:3], 0.9]})
    ).empty


def test_compare_and_check_take_what_the_command_line_takes(capfd: pytest.CaptureFixture[str]) -> None:
    table = filterlens.compare(NORMAL, PGD)
    model = table[table["layer"] == ""].set_index("metric")
    assert model["difference"]["orthogonality"] == pytest.approx(
        model["second"]["orthogonality"] - model["first"]["orthogonality"]
    )
    passed, failed, alive = filterlens.check(PGD, ["max-sparsity=0.9", "min-orthogonality=0.99"])
    assert (passed.passed, failed.passed, alive.passed) == (True, False, True)
    assert isinstance(failed, BoundCheck)
    assert failed.value == pytest.approx(model["second"]["orthogonality"])
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match="none of the lenses filters has an option 'imagse'"):
        filterlens.inspect(PGD, imagse=3)
    with pytest.raises(InputError, match="give at least one bound"):
        filterlens.check(PGD, [])


def test_a_run_of_several_models_is_compared_and_not_inspected(tmp_path: Path) -> None:
    run = tmp_path / "run"
    filterlens.extract(make_zoo(tmp_path / "zoo"), run)
    filterlens.analyze(run)
    assert set(filterlens.compare(run, run)["difference"].dropna()) == {0.0}
    with pytest.raises(InputError, match="is a run of 4 models: name one checkpoint"):
        filterlens.inspect(run)


def test_catalogs_tell_what_is_known_in_its_own_type(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("model_id,source,robust,match,eps\na,a.pt,true,b,8/255\nb,b.pt,false,,\nc,c.pt,,,\n")
    table = filterlens.catalogs(path).set_index("model_id")
    assert table["robust"].tolist() == [True, False, pd.NA]
    assert table.loc["a", "eps"] == pytest.approx(8 / 255)
    shipped = filterlens.catalogs().set_index("catalog")
    assert [shipped[name]["fonts-linf"] for name in ("models", "pairs", "unmatched")] == [21, 9, 0]
    assert "licence" in filterlens.catalogs("fonts-linf", licences=True)


def test_explain_lists_every_score_or_one() -> None:
    one = filterlens.explain("sparsity").iloc[0]
    assert (one["lens"], one["low"], one["high"]) == ("filters", 0.0, 1.0)
    everything = filterlens.explain(auxiliary=True)
    assert not filterlens.explain()["auxiliary"].any()
    assert set(everything["lens"]) >= {
        "filters",
        "frequency",
        "spectra",
        "downsampling",
        "robustness",
        "flatness",
        "manifold",
    }
    with pytest.raises(InputError, match="did you mean sparsity"):
        filterlens.explain("sparsety")


def test_filters_go_out_to_the_data_set_and_come_back(tmp_path: Path) -> None:
    filterlens.extract(make_zoo(tmp_path / "zoo"), tmp_path / "run")
    exported = filterlens.export_filterdb(tmp_path / "run", tmp_path / "dataset.h5")
    assert (exported.n_models, exported.left_out) == (4, {})
    outcome = filterlens.import_filterdb(tmp_path / "dataset.h5", tmp_path / "back", models=["net0-*"])
    assert outcome.count("ok") == 2


def test_a_training_says_what_it_takes_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe"):
        filterlens.train("frogs", tmp_path)
    with pytest.raises(InputError, match="choose one of small, full"):
        filterlens.study_manifold("huge", tmp_path)
