"""Libraries' warnings stay off the terminal, go where the user wants them, and every failure says its class."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from filterlens.errors import InputError
from filterlens.process.logs import follow_logging, set_up_logging

FILTERLENS = [sys.executable, "-c", "from filterlens.cli import main; main()"]
ROOT = Path(__file__).parents[2]
NETS = """
import logging, warnings
from torch import nn

def loud():
    warnings.warn("a library warns", FutureWarning)
    logging.getLogger("library").warning("a library logs")
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())

def broken():
    raise LookupError("made to fail")
"""


def run(*arguments: str | Path, code: int) -> str:
    """Run the command line and return what it printed, both streams together."""
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONWARNINGS", "FILTERLENS_LOGGING"}}
    done = subprocess.run(
        [*FILTERLENS, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env=clean | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    (tmp_path / "nets_that_are_loud.py").write_text(NETS)
    rows = ["model_id,source"]
    rows += [f"{name},module:nets_that_are_loud:{name.rstrip('12')}" for name in ("loud1", "loud2", "broken")]
    (tmp_path / "zoo.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "zoo.csv"


@pytest.mark.parametrize("jobs", [1, 2])
def test_warnings_go_to_the_log_file_and_not_to_the_terminal(zoo: Path, tmp_path: Path, jobs: int) -> None:
    log = tmp_path / "audit.log"
    printed = run(
        "extract", "-l", zoo, "-o", tmp_path / "run", "--allow-code", "--jobs", str(jobs), "--log-file", log, code=1
    )
    assert "a library" not in printed
    assert "Traceback" not in printed
    written = log.read_text(encoding="utf-8")
    assert written.count("FutureWarning: a library warns") == 2
    assert written.count("library: a library logs") == 2
    assert "INFO filterlens: loud1, filters: ok after " in written
    assert "ERROR filterlens: broken, filters: failed after " in written
    assert "(CheckpointError: module:nets_that_are_loud:broken could not be built: LookupError: made to fail" in written


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_without_options_the_terminal_shows_only_ours(zoo: Path, tmp_path: Path, jobs: int) -> None:
    printed = run("extract", "-l", zoo, "-o", tmp_path / "run", "--allow-code", "--jobs", str(jobs), code=1)
    assert "a library" not in printed
    assert "failed broken · filters: module:nets_that_are_loud:broken could not be built" in printed
    rows = [json.loads(line) for line in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()]
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["error_class"] == "CheckpointError"
    assert "LookupError: made to fail" in failed["reason"]
    assert failed["traceback"] == ""


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_verbose_shows_warnings_and_keeps_tracebacks_in_the_ledger(zoo: Path, tmp_path: Path, jobs: int) -> None:
    printed = run(
        "extract", "-l", zoo, "-o", tmp_path / "run", "--allow-code", "--jobs", str(jobs), "--verbose", code=1
    )
    assert printed.count("FutureWarning: a library warns") == 2
    assert printed.count("a library logs") == 2
    rows = [json.loads(line) for line in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()]
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["traceback"].startswith("Traceback (most recent call last):")
    assert "nets_that_are_loud.py" in failed["traceback"]
    assert failed["traceback"].rstrip().splitlines()[-1].startswith("filterlens.errors.CheckpointError: ")


@pytest.mark.slow
def test_verbose_with_a_log_file_does_both(zoo: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    printed = run("extract", "-l", zoo, "-o", tmp_path / "run", "--allow-code", "--verbose", "--log-file", log, code=1)
    written = log.read_text(encoding="utf-8")
    assert printed.count("a library warns") == written.count("a library warns") > 0
    assert "Traceback" not in printed
    assert "Traceback (most recent call last):" in written


def test_a_dump_that_cannot_be_read_is_in_the_ledger_with_its_class_and_traceback(zoo: Path, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "analysis.log"
    run("extract", "-l", zoo, "-o", folder, "--allow-code", "--models", "loud*", code=0)
    (folder / "dumps" / "loud2.h5").write_bytes(b"no dump")
    assert "scores of 1 models" in run("analyze", folder, "--verbose", "--log-file", log, code=1)
    row = json.loads((folder / "ledger.jsonl").read_text().splitlines()[-1])
    assert (row["model_id"], row["status"], row["error_class"]) == ("loud2", "failed", "DumpError")
    assert row["traceback"].rstrip().splitlines()[-1].startswith("filterlens.errors.DumpError: ")


def test_what_ends_the_program_is_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    printed = run("analyze", tmp_path, "--log-file", log, code=2)
    assert printed.count("\n") == 1
    written = log.read_text(encoding="utf-8")
    assert "CRITICAL filterlens: " in written
    assert "is not a run's folder" in written
    assert "Traceback" in written


@pytest.mark.parametrize("place", ["", "nowhere/audit.log"])
def test_a_log_file_that_cannot_be_written_is_said_before_anything_runs(zoo: Path, tmp_path: Path, place: str) -> None:
    printed = run("extract", "-l", zoo, "-o", tmp_path / "run", "--allow-code", "--log-file", tmp_path / place, code=2)
    assert printed.startswith(f"filterlens: --log-file {tmp_path / place} cannot be written (")
    assert printed.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_worker_that_does_not_see_the_log_file_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = list(logging.getLogger().handlers)
    monkeypatch.setenv("FILTERLENS_LOGGING", json.dumps({"verbose": True, "file": "/nowhere/audit.log"}))
    follow_logging()
    monkeypatch.delenv("FILTERLENS_LOGGING")
    follow_logging()
    assert logging.getLogger().handlers == handlers


def test_a_folder_is_no_log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILTERLENS_LOGGING", "")
    with pytest.raises(InputError, match=r"--log-file .* cannot be written"):
        set_up_logging(verbose=True, log_file=tmp_path)
