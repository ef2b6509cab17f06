"""Many models in shards: the same scores as one by one, in parts, resumed after SIGKILL, one fault costing its own."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from small_zoo import weights

import filterlens
from filterlens.catalogs import load_catalog
from filterlens.lens import RunSettings
from filterlens.report import read_run
from filterlens.runs import Outcome, analyze, extract, shards
from filterlens.runs.executors import LocalProcesses
from filterlens.runs.ledger import Ledger
from filterlens.score import read_scores

N = 12  # models of each of two shards


@pytest.fixture(autouse=True)
def _many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two dozen be many."""
    monkeypatch.setattr(shards, "FEWEST", 2 * N - 2)


def model(number: int) -> dict[str, torch.Tensor]:
    """One of three architectures, some filters of which are zero; every seventh holds what has no score."""
    state = weights(number, width=(4, 8, 6)[number % 3])
    if number % 7 == 3:
        state["dead.weight"] = torch.zeros(4, 4, 3, 3)
        state["stem.weight"] *= 1e-20  # whose squares leave float32's range
    if number % 7 == 5:
        state["bad.weight"] = torch.full((3, 3, 3, 3), torch.nan)
    return state


def write_rows(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["model_id", "source"])
        out.writerows(rows)
    return path


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Two shards, and a file of its own for one model; return the catalog."""
    rows = []
    for shard in range(2):
        names = [f"net{number:03d}" for number in range(shard * N, (shard + 1) * N)]
        tensors = {f"{name}/{key}": w for name in names for key, w in model(int(name[3:])).items()}
        save_file(tensors, tmp_path / f"zoo-{shard}.safetensors")
        rows += [(name, f"zoo-{shard}.safetensors#{name}") for name in names]
    torch.save(weights(500), tmp_path / "alone.pt")
    return write_rows(tmp_path / "models.csv", [*rows, ("alone", "alone.pt")])


def run(catalog: Path, folder: Path, **how: object) -> Outcome:
    return extract(load_catalog(catalog), folder, **how)  # type: ignore[arg-type]


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "parts").glob("*"))


def by_place(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sort_values(["model_id", "lens", "layer", "metric"]).reset_index(drop=True)


def test_scores_are_those_of_one_model_at_a_time(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lenses = ["filters", "frequency", "spectra"]
    outcome = run(zoo, tmp_path / "parts-run", lenses=lenses)
    assert outcome.count("ok") == len(outcome.rows) == 3 * (2 * N + 1)
    found = analyze(tmp_path / "parts-run")
    assert [path.name for path in (tmp_path / "parts-run" / "dumps").iterdir()] == ["alone.h5"]
    names = ["00000-ledger.parquet", "00000-scores.parquet", "00001-ledger.parquet", "00001-scores.parquet"]
    assert parts(tmp_path / "parts-run") == names
    monkeypatch.setattr(shards, "FEWEST", 10**6)
    run(zoo, tmp_path / "dumps-run", lenses=lenses)
    expected = analyze(tmp_path / "dumps-run")
    assert len(list((tmp_path / "dumps-run" / "dumps").iterdir())) == 2 * N + 1
    assert parts(tmp_path / "dumps-run") == []
    assert found["note"].str.contains("NaN or Inf").any()
    pd.testing.assert_frame_equal(by_place(found), by_place(expected), check_exact=True)
    mine, theirs = (Ledger(tmp_path / name / "ledger.jsonl").latest() for name in ("parts-run", "dumps-run"))
    assert mine.keys() == theirs.keys()
    for job, row in mine.items():
        other = theirs[job]
        assert (row.key, row.sha256, row.weights_sha256) == (other.key, other.sha256, other.weights_sha256)
        assert (row.faults, row.files, row.notes) == (other.faults, other.files, other.notes)


def test_fewer_models_have_a_dump_each(zoo: Path, tmp_path: Path) -> None:
    lines = zoo.read_text().splitlines()[1 : 2 * N - 2]
    few = write_rows(tmp_path / "few.csv", [(line.split(",")[0], line.split(",")[1]) for line in lines])
    run(few, tmp_path / "run")
    assert len(list((tmp_path / "run" / "dumps").iterdir())) == 2 * N - 3
    assert parts(tmp_path / "run") == []


@pytest.mark.slow
def test_jobs_change_no_byte(zoo: Path, tmp_path: Path) -> None:
    filterlens.audit(str(zoo), tmp_path / "one", lenses=["filters"])
    filterlens.audit(str(zoo), tmp_path / "two", lenses=["filters"], executor=LocalProcesses(2))
    for name in ("scores.parquet", "parts/00000-scores.parquet", "tables/models.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_same_command_does_nothing_again(zoo: Path, tmp_path: Path) -> None:
    run(zoo, tmp_path / "run")
    before = analyze(tmp_path / "run")
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "parts").iterdir()}
    again = run(zoo, tmp_path / "run")
    assert again.reused == len(again.rows) == 2 * N + 1
    assert stamps == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "parts").iterdir()}
    assert analyze(tmp_path / "run", reuse=True).equals(before)


def test_one_changed_model_is_done_again_alone(zoo: Path, tmp_path: Path) -> None:
    run(zoo, tmp_path / "run")
    before = analyze(tmp_path / "run")
    names = [f"net{number:03d}" for number in range(N)]
    states = {name: model(int(name[3:])) for name in names} | {"net004": weights(77, 8)}
    save_file(
        {f"{m}/{key}": w for m, state in states.items() for key, w in state.items()}, tmp_path / "zoo-0.safetensors"
    )
    outcome = run(zoo, tmp_path / "run")
    assert outcome.reused == 2 * N
    after = analyze(tmp_path / "run", reuse=True)
    changed = after["model_id"] == "net004"
    assert (before["model_id"] == "net004").sum() == changed.sum()  # nothing stands twice
    old, new = (by_place(table[table["model_id"] != "net004"]) for table in (before, after))
    pd.testing.assert_frame_equal(new, old, check_exact=True)
    save_file(weights(77, 8), tmp_path / "net004.safetensors")
    alone = filterlens.inspect(str(tmp_path / "net004.safetensors")).layers
    own = after[changed]
    np.testing.assert_array_equal(own["value"], alone["value"])


def test_damage_costs_its_own_models_only(zoo: Path, tmp_path: Path) -> None:
    whole = (tmp_path / "zoo-0.safetensors").read_bytes()
    (tmp_path / "zoo-0.safetensors").write_bytes(whole[:-4])
    text = zoo.read_text().replace("zoo-1.safetensors#net020", "zoo-1.safetensors#nett020")
    zoo.write_text(text)
    outcome = run(zoo, tmp_path / "run")
    assert (outcome.count("ok"), outcome.count("failed")) == (N, N + 1)
    latest = Ledger(tmp_path / "run" / "ledger.jsonl").latest()
    assert "zoo-0.safetensors is no safetensors file" in latest["net000", "filters"].reason
    assert "holds no model 'nett020': did you mean net020" in latest["net020", "filters"].reason
    assert analyze(tmp_path / "run")["model_id"].nunique() == N
    (tmp_path / "zoo-0.safetensors").write_bytes(whole)
    mended = run(zoo, tmp_path / "run")
    assert (mended.count("ok"), mended.reused) == (2 * N, N)
    assert analyze(tmp_path / "run", reuse=True)["model_id"].nunique() == 2 * N


def test_a_model_on_which_a_lens_fails_costs_itself(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filterlens.lenses.filters import analyzer

    whole = analyzer.scorable

    def broken(weight: torch.Tensor) -> object:
        if weight.shape[0] == 4 and float(weight[0, 0, 0, 0]) == float(model(9)["stem.weight"][0, 0, 0, 0]):
            raise ValueError("the analyzer's fault")
        return whole(weight)

    monkeypatch.setattr(analyzer, "scorable", broken)
    outcome = run(zoo, tmp_path / "run")
    failed = [row for row in outcome.rows if row.status == "failed"]
    assert [row.model_id for row in failed] == ["net009"]
    assert failed[0].reason == "scoring: layer stem: ValueError: the analyzer's fault"


def test_a_damaged_part_is_done_again(zoo: Path, tmp_path: Path) -> None:
    run(zoo, tmp_path / "run")
    before = analyze(tmp_path / "run")
    for name in ("00000-scores.parquet", "00001-ledger.parquet"):
        path = tmp_path / "run" / "parts" / name
        path.write_bytes(path.read_bytes()[:-30])
    notes: list[str] = []
    outcome = run(zoo, tmp_path / "run", listener=lambda event: notes.append(event.note))
    assert outcome.reused == 1
    assert sum("is missing or damaged" in note for note in notes) == 2
    pd.testing.assert_frame_equal(by_place(analyze(tmp_path / "run")), by_place(before), check_exact=True)


def test_a_run_is_replaced_with_its_parts(zoo: Path, tmp_path: Path) -> None:
    run(zoo, tmp_path / "run")
    (tmp_path / "run" / "parts" / "mine.txt").write_text("keep")
    run(zoo, tmp_path / "run", settings=RunSettings(seed=3), existing="replace")
    assert len(parts(tmp_path / "run")) == 5
    assert analyze(tmp_path / "run")["model_id"].nunique() == 2 * N + 1


def test_the_report_opens_and_says_what_is_left_out(zoo: Path, tmp_path: Path) -> None:
    outcome = filterlens.audit(str(zoo), tmp_path / "run", lenses=["filters"])
    assert outcome.page is not None
    page = outcome.page.read_text()
    assert f"leave out the {2 * N} models that lie many to a file" in page
    assert page.count("net017") > 0
    assert "Different options" not in page
    read = read_run(tmp_path / "run")
    assert len(read.models) == 2 * N + 1
    assert set(read.ledger["status"]) == {"ok"}


KILLED = """
import sys
from pathlib import Path
from filterlens.catalogs import load_catalog
from filterlens.runs import extract, shards
shards.FEWEST, shards._MOST = 20, 2  # a dozen tasks
extract(load_catalog(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_run_loses_one_task_and_ends_with_the_same_bytes(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_MOST", 2)
    run(zoo, tmp_path / "whole")
    analyze(tmp_path / "whole")
    out = tmp_path / "killed"
    for more in (1, 3):
        before = len(list((out / "parts").glob("*-ledger.parquet")))
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(zoo), str(out)], start_new_session=True)
        while process.poll() is None and len(list((out / "parts").glob("*-ledger.parquet"))) < before + more:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = len(list((out / "parts").glob("*-ledger.parquet")))
    assert 4 <= done < 12
    outcome = run(zoo, out)
    assert outcome.reused == 2 * done
    analyze(out)
    assert (out / "scores.parquet").read_bytes() == (tmp_path / "whole" / "scores.parquet").read_bytes()
    assert not list(out.rglob("*.tmp"))


def test_a_time_limit_leaves_whole_shards_to_the_next_run(zoo: Path, tmp_path: Path) -> None:
    outcome = run(zoo, tmp_path / "run", time_limit=0)
    assert (outcome.unstarted, len(outcome.rows)) == (2 * N + 1, 0)
    assert read_scores(analyzed(zoo, tmp_path / "run"))["model_id"].nunique() == 2 * N + 1


def analyzed(catalog: Path, folder: Path) -> Path:
    run(catalog, folder)
    analyze(folder)
    return folder / "scores.parquet"
