"""Several processes, asked for by a script as people write one: without `if __name__ == "__main__":`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_zoo import make_zoo

import filterlens
from filterlens.catalogs import load_catalog
from filterlens.runs import extract

SCORE = '''
from filterlens.score import score

@score(lens="filters", title="Mean weight", formula="mean |w|", reference="ours")
def mean_weight(layer):
    """Mean absolute weight."""
    return float(layer.filters.abs().mean())
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    extract(load_catalog(make_zoo(folder / "zoo", pairs=2)), folder / "run")
    return folder / "run"


def script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text, encoding="utf-8")
    return subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "call", ["analyze({run!r}, jobs=2)", "audit({zoo!r}, folder={out!r}, jobs=2, lenses=['filters'])"]
)
def test_a_script_is_run_once(run: Path, tmp_path: Path, call: str) -> None:
    zoo = make_zoo(tmp_path / "zoo", pairs=2)
    call = call.format(run=str(run), zoo=str(zoo), out=str(tmp_path / "out"))
    done = script(tmp_path, f"print('begun')\nimport filterlens\nfilterlens.{call}\nprint('done')\n")
    assert done.stdout.splitlines() == ["begun", "done"], done.stderr
    assert "Traceback" not in done.stderr


def test_a_score_of_a_script_is_computed_in_one_process(run: Path, tmp_path: Path) -> None:
    count = f"table = filterlens.analyze({str(run)!r})\nprint((table['metric'] == 'mean_weight').sum() > 0)"
    done = script(tmp_path, f"import filterlens\n{SCORE}\n{count}\n")
    assert done.stdout == "True\n", done.stderr


def test_a_score_of_a_script_is_not_left_out_by_other_processes(run: Path, tmp_path: Path) -> None:
    done = script(tmp_path, f"import filterlens\n{SCORE}\nfilterlens.analyze({str(run)!r}, jobs=2)\n")
    assert "InputError: other processes do not have scores that a script or a notebook declares (mean_weight)" in (
        done.stderr
    )
    assert done.stderr.count("Traceback") == 1


def test_scores_of_packages_are_computed_in_any_process(run: Path) -> None:
    assert filterlens.analyze(run, jobs=2)["metric"].nunique() > 3
