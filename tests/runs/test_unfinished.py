"""A run that ends within a model keeps the lenses that were done by then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_zoo import make_zoo

from filterlens.catalogs import load_catalog
from filterlens.dumps import DumpReader
from filterlens.runs import Event, analyze, extract
from filterlens.runs.ledger import Ledger

LENSES = ("filters", "frequency", "spectra")


class Stop(BaseException):
    """What no job catches, as a signal is."""


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder of which nothing was recorded, and one lens of one model is done."""
    from filterlens.lenses.frequency import extractor

    def stop(_: object) -> None:
        raise Stop

    zoo = make_zoo(tmp_path / "zoo", pairs=1)
    with monkeypatch.context() as patch:
        patch.setattr("filterlens.runs.jobs._COMMIT_AFTER", 0.0)
        patch.setattr(extractor, "extract", stop)
        with pytest.raises(Stop):
            extract(load_catalog(zoo), tmp_path / "run", lenses=LENSES)
    return tmp_path / "run"


def test_the_lenses_that_were_done_are_kept_and_recorded(stopped: Path) -> None:
    dump = stopped / "dumps" / "net0-robust.h5"
    with DumpReader(dump) as reader:
        assert reader.lenses == ["filters"]
    assert not Ledger(stopped / "ledger.jsonl").latest()
    heard: list[Event] = []
    outcome = extract(load_catalog(stopped.parent / "zoo" / "zoo.csv"), stopped, lenses=LENSES, listener=heard.append)
    assert (outcome.reused, outcome.count("ok")) == (1, 6)
    assert heard[0].note == "0 of 2 models are done already, and some lenses of net0-robust"
    row = Ledger(stopped / "ledger.jsonl").latest()["net0-robust", "filters"]
    assert (row.status, len(row.weights_sha256)) == ("ok", 64)
    assert set(analyze(stopped)["lens"]) == set(LENSES)


def test_a_lens_that_was_done_under_other_options_is_done_again(stopped: Path) -> None:
    from filterlens.lenses.filters.options import FiltersOptions

    catalog = load_catalog(stopped.parent / "zoo" / "zoo.csv")
    outcome = extract(catalog, stopped, lenses={"filters": FiltersOptions(kernel="all")}, existing="extend")
    assert outcome.reused == 0


def test_a_failure_that_the_ledger_tells_later_is_not_taken_back(stopped: Path) -> None:
    catalog = load_catalog(stopped.parent / "zoo" / "zoo.csv")
    extract(catalog, stopped, lenses=LENSES)
    row = Ledger(stopped / "ledger.jsonl").latest()["net0-robust", "filters"]
    with (stopped / "ledger.jsonl").open("a") as file:
        file.write(json.dumps({"model_id": row.model_id, "lens": row.lens, "status": "failed", "key": row.key}) + "\n")
    assert extract(catalog, stopped, lenses=LENSES).reused == 5


@pytest.mark.parametrize("text", ["", "{}", '{"model_id": "other", "lens": "filters", "status": "ok"}', "[" * 9999])
def test_what_is_no_row_of_that_lens_is_passed_over(stopped: Path, text: str) -> None:
    import h5py

    with h5py.File(stopped / "dumps" / "net0-robust.h5", "r+") as file:
        file["filters"].attrs["ledger_row"] = text
    outcome = extract(load_catalog(stopped.parent / "zoo" / "zoo.csv"), stopped, lenses=LENSES)
    assert (outcome.reused, outcome.count("ok")) == (0, 6)


@pytest.mark.slow
def test_ctrl_c_within_a_model_keeps_its_finished_lenses(tmp_path: Path) -> None:
    """The manifold lens of a bundled network takes minutes at the paper's settings; filters are done at once."""
    code = "import filterlens.runs.jobs as jobs; jobs._COMMIT_AFTER = 0.0\nfrom filterlens.cli import main; main()"
    words = ["extract", "-l", "fonts-linf", "-m", "preact_resnet-normal-s0", "--lens", "filters,manifold", "--paper"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "-o", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    dump = tmp_path / "run" / "dumps" / "preact_resnet-normal-s0.h5"
    deadline = time.monotonic() + 120
    while not dump.is_file():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what is done is kept" in said
    catalog = load_catalog("fonts-linf").select(["preact_resnet-normal-s0"])
    assert extract(catalog, tmp_path / "run", lenses=["filters"], existing="extend").reused == 1
