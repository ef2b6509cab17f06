"""A third-party lens, exactly as the docs show it, runs through entry point, dump and score table."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_zoo import make_zoo, weights
from torch import nn

import filterlens
from filterlens.errors import FilterlensError, InputError
from filterlens.lens import register as lens
from filterlens.training import Monitor

PLUGINS = Path(__file__).parent / "plugins"
Installed = dict[str, list[EntryPoint]]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    points = {
        "filterlens.lenses": [EntryPoint("kurtosis", "kurtosis_lens:LENS", "filterlens.lenses")],
        "filterlens.scores": [],
    }
    lens.all_lenses()  # built-in scores go to the register that stays
    module = sys.modules["filterlens.score"]
    monkeypatch.setattr(module, "_REGISTERED", dict(module._REGISTERED))
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.setattr(lens, "entry_points", lambda group: points[group])
    lens.all_lenses.cache_clear()
    yield points
    lens.all_lenses.cache_clear()
    for name in ("kurtosis_lens", "kurtosis_figures", "mean_norm"):
        sys.modules.pop(name, None)


def _kurtosis(weight: torch.Tensor) -> torch.Tensor:
    return ((weight - weight.mean()) ** 4).mean() / weight.var(correction=0) ** 2


def test_a_third_party_lens_scores_models_and_has_figures_and_options(installed: Installed, tmp_path: Path) -> None:
    catalog = make_zoo(tmp_path / "zoo")
    done = filterlens.audit(catalog, tmp_path / "run", lenses=["filters", "kurtosis"])
    scores = filterlens.Run(tmp_path / "run").scores
    mine = scores[(scores["lens"] == "kurtosis") & (scores["model_id"] == "net0-robust")].set_index("layer")["value"]
    torch.testing.assert_close(torch.tensor(mine["stem"]), _kurtosis(weights(1)["stem.weight"]), check_dtype=False)
    assert done.page
    assert "Kurtosis of every model" in done.page.read_text(encoding="utf-8")
    assert (tmp_path / "run" / "figures" / "kurtosis_models.png").is_file()
    assert "kurtosis" in pd.read_csv(tmp_path / "run" / "tables" / "models.csv")

    again = filterlens.audit(catalog, tmp_path / "run", lenses=["filters", "kurtosis"])
    assert again.reused == len(again.rows), "nothing has changed"
    changed: dict[str, Any] = {"lenses": ["filters", "kurtosis"], "largest_share": 0.5}
    with pytest.raises(FilterlensError, match=r"kurtosis: largest_share was 1\.0, not 0\.5"):
        filterlens.extract(catalog, tmp_path / "run", **changed)
    assert filterlens.extract(catalog, tmp_path / "run", **changed, replace=True).reused == 0


def test_a_third_party_lens_measures_a_network_in_memory(installed: Installed) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    table = filterlens.measure(network, lens="kurtosis").set_index("layer")
    expected = _kurtosis(network.get_parameter("0.weight").detach()).double()
    torch.testing.assert_close(torch.tensor(table.loc["0", "kurtosis"]).double(), expected, rtol=1e-5, atol=0)
    assert Monitor(network, score="kurtosis").score() > 1


def test_a_third_party_score_of_a_built_in_lens_is_computed_with_the_others(installed: Installed) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3))
    assert "mean_norm" not in filterlens.measure(network)
    installed["filterlens.scores"] = [EntryPoint("mean_norm", "mean_norm", "filterlens.scores")]
    lens.all_lenses.cache_clear()
    table = filterlens.measure(network)
    assert table["mean_norm"].item() == pytest.approx(
        network.get_parameter("0.weight").detach().flatten(2).norm(dim=2).mean().item()
    )
    assert lens.get_score("mean_norm").summary == "Mean Euclidean norm of a layer's filters."


def test_two_lenses_of_one_name_are_refused(installed: Installed) -> None:
    installed["filterlens.lenses"].append(EntryPoint("again", "kurtosis_lens:LENS", "filterlens.lenses"))
    with pytest.raises(InputError, match="two lenses are called 'kurtosis'"):
        lens.all_lenses()


def test_an_entry_point_that_is_no_lens_is_refused(installed: Installed) -> None:
    installed["filterlens.lenses"] = [EntryPoint("kurtosis", "kurtosis_lens:extract", "filterlens.lenses")]
    with pytest.raises(InputError, match=r"kurtosis_lens:extract is no filterlens\.Lens"):
        lens.all_lenses()


@pytest.mark.parametrize("what", ["lens", "scores"])
def test_an_entry_point_that_cannot_be_imported_is_named(installed: Installed, what: str) -> None:
    group = {"lens": "filterlens.lenses", "scores": "filterlens.scores"}[what]
    installed[group] = [EntryPoint("gone", "no_such_module:LENS", group)]
    with pytest.raises(InputError, match=f"the {what} 'gone' of no_such_module:LENS cannot be imported"):
        lens.all_lenses()


def test_the_examples_are_short() -> None:
    longest = {"kurtosis_lens.py": 70, "kurtosis_figures.py": 20, "mean_norm.py": 20}
    for name, limit in longest.items():
        lines = (PLUGINS / name).read_text(encoding="utf-8").splitlines()
        assert len([line for line in lines if line.strip()]) <= limit, name


@pytest.mark.slow
def test_an_installed_package_brings_its_lens_to_the_command_line(tmp_path: Path) -> None:
    page = (PLUGINS.parents[1] / "docs" / "add-a-lens.md").read_text(encoding="utf-8")
    entry_points = "\n".join(re.findall(r"```toml.*?\n(.*?)```", page, re.DOTALL))
    project = tmp_path / "project"
    project.mkdir()
    for name in ("kurtosis_lens.py", "kurtosis_figures.py", "mean_norm.py"):
        shutil.copy(PLUGINS / name, project)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        '[project]\nname = "kurtosis-lens"\nversion = "1"\n\n'
        '[tool.hatch.build.targets.wheel]\ninclude = ["*.py"]\n\n' + entry_points
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(project)], check=True, capture_output=True)

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", "from filterlens.cli import main; main()", *arguments]
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "heavy-tailed" in run("explain", "kurtosis")
    assert "--largest-share" in run("audit", "--help")
    run("audit", "-m", "preact_resnet-*-s0", "--lens", "filters,kurtosis", "--largest-share", "0.5", "--out", "run")
    assert {"kurtosis", "mean_norm"} <= set(pd.read_parquet(tmp_path / "run" / "scores.parquet")["metric"])
    assert "kurtosis" in (tmp_path / "run" / "index.html").read_text(encoding="utf-8")
