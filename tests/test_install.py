"""`pip install filterlens` reads finished runs; what measures says what to install."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import filterlens
from filterlens.process.extras import AUDIT

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HINT = 'pip install "filterlens[audit]"'
MODEL = "vgg_maxpool-pgd-s0"
WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {AUDIT!r} else super().find_spec(name, path, target)

    @staticmethod
    def find_distributions(context):
        return () if context.name in {AUDIT!r} else PathFinder.find_distributions(context)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two models by two lenses."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    filterlens.audit("fonts-linf", folder, lenses=["filters", "frequency"], models=["vgg*s0"])
    return folder


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes that lack what the extra brings: those they start lack it too."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "sitecustomize.py").write_text(WITHOUT, encoding="utf-8")
    paths = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}


def run(light: dict[str, str], *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = "from filterlens.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=light, cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_extra_is_what_the_message_names() -> None:
    extra = PROJECT["optional-dependencies"]["audit"]
    assert {re.split(r"[^\w-]", one)[0] for one in extra} == set(AUDIT)
    always = {re.split(r"[^\w-]", one)[0] for one in PROJECT["dependencies"]}
    assert not always & set(AUDIT)
    for name, needs in PROJECT["optional-dependencies"].items():
        assert name in {"audit", "docs", "polars", "trackers"} or any("filterlens[audit" in one for one in needs), name


def test_these_processes_lack_the_extra(light: dict[str, str]) -> None:
    for name in AUDIT:
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"], env=light, capture_output=True, text=True, check=False
        )
        assert "ModuleNotFoundError" in done.stderr, name


READING = {
    "version": ["--version"],
    "help": ["--help"],
    "help of audit": ["audit", "--help"],
    "catalogs": ["catalogs", "cifar10-linf", "--format", "csv"],
    "explain": ["explain", "sparsity"],
    "explain as BibTeX": ["explain", "--bibtex"],
    "ls lenses": ["ls", "lenses"],
    "ls sources": ["ls", "sources"],
    "schema": ["schema", "scores"],
    "table": ["table", "RUN"],
    "card": ["card", "RUN", MODEL],
    "compare": ["compare", "RUN", "RUN"],
    "export": ["export", "filterdb", "RUN", "--out", "filters.h5"],
    "audit of a finished run": ["audit", "--config", "RUN/run.toml", "--out", "RUN"],
    "estimate of a finished run": ["audit", "--config", "RUN/run.toml", "--out", "RUN", "--dry-run"],
}


@pytest.mark.parametrize("name", READING)
def test_finished_runs_are_read_without_the_extra(
    name: str, finished: Path, light: dict[str, str], tmp_path: Path
) -> None:
    words = [word.replace("RUN", str(finished)) for word in READING[name]]
    done = run(light, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


@pytest.mark.slow
def test_a_report_is_the_same_without_the_extra(finished: Path, light: dict[str, str]) -> None:
    folder = finished / "tables"
    filterlens.report(finished)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    pages = (finished / "index.html").read_text(encoding="utf-8")
    for path in folder.iterdir():
        path.unlink()
    assert run(light, "report", str(finished)).returncode == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len((finished / "index.html").read_text(encoding="utf-8")) == len(pages)


def test_a_run_is_read_in_python_without_the_extra(finished: Path, light: dict[str, str]) -> None:
    code = f"""
import json, sys
import filterlens
run = filterlens.Run({str(finished)!r})
rows = len(run.scores)
table = filterlens.compare({str(finished)!r}, {str(finished)!r})
print(json.dumps([rows, float(table["difference"].abs().max()), [n for n in {AUDIT!r} if n in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", code], env=light, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows, largest, loaded = json.loads(done.stdout)
    assert rows > 100
    assert largest == 0
    assert loaded == []


MEASURING = {
    "audit": ["audit", "--out", "new"],
    "audit by processes": ["audit", "--out", "new", "--jobs", "2"],
    "estimate": ["audit", "--out", "new", "--dry-run"],
    "extract": ["extract", "-l", "fonts-linf", "--out", "new"],
    "analyze": ["analyze", "RUN"],
    "fetch": ["fetch", "-l", "cifar10-linf", "--dry-run"],
    "inspect": ["inspect", f"fonts-linf/{MODEL}"],
    "check": ["check", f"fonts-linf/{MODEL}", "--max-sparsity", "0.9"],
    "compare": ["compare", f"fonts-linf/{MODEL}", "fonts-linf/vgg_maxpool-normal-s0"],
    "selftest": ["selftest"],
    "train": ["train", "pgd", "--epochs", "1", "--out", "new"],
    "study of filters": ["study", "filters", "RUN"],
    "study of manifolds": ["study", "manifold", "--out", "new"],
}


@pytest.mark.parametrize("name", MEASURING)
def test_what_measures_says_in_one_line_what_to_install(
    name: str, finished: Path, light: dict[str, str], tmp_path: Path
) -> None:
    before = (finished / "scores.parquet").read_bytes()
    done = run(light, *[word.replace("RUN", str(finished)) for word in MEASURING[name]], cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("filterlens: ")]
    assert len(said) == 1, done.stderr
    assert HINT in said[0]
    assert "torch, torchvision" in said[0]
    assert "Traceback" not in done.stderr
    assert (finished / "scores.parquet").read_bytes() == before
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".h5", ".toml", ".csv", ".jsonl"}]
