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

import pandas as pd
import pytest
import torch
from small_zoo import make_zoo, weights

from filterlens import lenses
from filterlens.catalogs import load_catalog
from filterlens.errors import InputError
from filterlens.runs import analyze, extract

PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    points = [EntryPoint("kurtosis", "kurtosis_lens:LENS", "filterlens.lens")]
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.setattr(lenses, "entry_points", lambda group: points if group == "filterlens.lens" else [])
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
    installed.append(EntryPoint("again", "kurtosis_lens:LENS", "filterlens.lens"))
    with pytest.raises(InputError, match="two lenses are called 'kurtosis'"):
        lenses.all_lenses()


def test_an_entry_point_that_is_no_lens_is_refused(installed: list[EntryPoint]) -> None:
    installed[0] = EntryPoint("kurtosis", "kurtosis_lens:extract", "filterlens.lens")
    with pytest.raises(InputError, match=r"kurtosis_lens:extract is no filterlens\.Lens"):
        lenses.all_lenses()


def test_an_entry_point_that_cannot_be_imported_is_named(installed: list[EntryPoint]) -> None:
    installed[0] = EntryPoint("gone", "no_such_module:LENS", "filterlens.lens")
    with pytest.raises(InputError, match="the lens 'gone' of no_such_module:LENS cannot be imported"):
        lenses.all_lenses()


def test_the_example_is_short() -> None:
    lines = (PLUGINS / "kurtosis_lens.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 40


@pytest.mark.slow
def test_an_installed_package_brings_its_lens_to_the_command_line(tmp_path: Path) -> None:
    page = (PLUGINS.parents[1] / "docs" / "add-a-lens.md").read_text(encoding="utf-8")
    (entry_point,) = re.findall(r"```toml.*?\n(.*?)```", page, re.DOTALL)
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(PLUGINS / "kurtosis_lens.py", project)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        '[project]\nname = "kurtosis-lens"\nversion = "1"\n\n'
        '[tool.hatch.build.targets.wheel]\ninclude = ["kurtosis_lens.py"]\n\n' + entry_point
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
    run("audit", "--models", "preact_resnet-*-s0", "--lens", "filters,kurtosis", "--out", "run")
    assert "kurtosis" in set(pd.read_parquet(tmp_path / "run" / "scores.parquet")["metric"])
    assert "kurtosis" in (tmp_path / "run" / "index.html").read_text(encoding="utf-8")
