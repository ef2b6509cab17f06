"""Inside an audit: the next models are fetched while one is extracted, evicted when they are done, begun in time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fetching.conftest import Write
from loaders.range_server import Handler, RangeServer, busy

import filterlens
from filterlens.cli.time_limit import TIME_IS_UP, parse_duration
from filterlens.errors import DownloadError, InputError
from filterlens.lens import RunSettings
from filterlens.runs import Event
from filterlens.runs import jobs as jobs_module
from filterlens.runs.executors import RayCluster


@pytest.fixture(autouse=True)
def no_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module._Longest, "seconds", 0.0)


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*.safetensors"))


def test_the_next_model_is_fetched_while_one_is_extracted(write: Write, server: RangeServer, tmp_path: Path) -> None:
    """Each answer takes a while, and so does each extraction: together they take less than one after the other."""
    times: list[tuple[str, str]] = []

    def hear(event: Event) -> None:
        if event.transfer is not None and event.transfer.state in {"begun", "fetched"}:
            times.append((event.transfer.state, event.model_id))
        elif event.what == "filters" and ("works", event.model_id) not in times:
            times.append(("works", event.model_id))
            time.sleep(0.3)

    catalog = write(4)
    outcome = filterlens.extract(catalog, tmp_path / "run", listener=hear)
    assert outcome.count("ok") == 4
    assert times.index(("fetched", "m2")) < times.index(("works", "m1"))
    assert sum(method == "GET" for method, _, _ in server.asked) == 4


def test_workers_find_what_the_driver_fetched(write: Write, server: RangeServer, cache: Path, tmp_path: Path) -> None:
    catalog = write(5)
    server.script = [Handler.serve, busy(404)]
    outcome = filterlens.extract(catalog, tmp_path / "run", jobs=2, evict=True)
    rows = {row.model_id: row for row in outcome.rows}
    assert [rows[f"m{n}"].status for n in range(5)] == ["ok", "failed", "ok", "ok", "ok"]
    assert rows["m1"].error_class == "DownloadError"
    assert "answers 404" in rows["m1"].reason
    assert sum(path == "/1.safetensors" and method == "GET" for method, path, _ in server.asked) == 1
    assert kept(cache) == []


def test_what_is_cached_is_extracted_first_and_never_evicted(
    write: Write, server: RangeServer, cache: Path, tmp_path: Path
) -> None:
    catalog = write(3)
    filterlens.fetch(catalog, models=["m2"])
    ended: list[str] = []
    outcome = filterlens.extract(
        catalog, tmp_path / "run", evict=True, listener=lambda e: ended.append(e.model_id) if e.rows else None
    )
    assert ended == ["m2", "m0", "m1"]
    assert outcome.count("ok") == 3
    assert kept(cache) == ["2.safetensors"]
    again = filterlens.extract(catalog, tmp_path / "run", evict=True)
    assert again.reused == 3
    assert kept(cache) == ["2.safetensors"]


def test_offline_fetches_nothing(write: Write, server: RangeServer, tmp_path: Path) -> None:
    catalog = write(2)
    filterlens.fetch(catalog, models=["m1"])
    server.asked.clear()
    outcome = filterlens.extract(catalog, tmp_path / "run", settings=RunSettings(offline=True))
    assert {row.model_id: row.status for row in outcome.rows} == {"m0": "failed", "m1": "ok"}
    assert server.asked == []


def test_a_disk_without_room_is_told_before_any_model_runs(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2000))
    catalog = write(2)
    with pytest.raises(DownloadError, match="or give --evict"):
        filterlens.extract(catalog, tmp_path / "run")
    notes: list[str] = []
    outcome = filterlens.extract(
        catalog, tmp_path / "run", evict=True, listener=lambda e: notes.append(e.note) if e.note else None
    )
    assert outcome.count("ok") == 2
    assert notes == ["to fetch: 2 files, 2.5 kB; 2.0 kB are free"]


def test_eviction_is_refused_on_a_cluster(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--evict is for jobs of this machine"):
        filterlens.extract(write(1), tmp_path / "run", evict=True, executor=RayCluster("local"))


def test_no_job_begins_after_the_time_limit_and_the_next_run_does_the_rest(write: Write, tmp_path: Path) -> None:
    catalog = write(3)

    def slow(event: Event) -> None:
        if event.what == "loading":
            time.sleep(0.6)

    outcome = filterlens.extract(catalog, tmp_path / "run", time_limit=1.5, listener=slow)
    assert outcome.unstarted == 3 - outcome.count("ok") > 0
    assert outcome.count("failed") == 0
    done = outcome.count("ok")
    rest = filterlens.extract(catalog, tmp_path / "run")
    assert (rest.count("ok"), rest.reused, rest.unstarted) == (3, done, 0)


def test_an_audit_whose_time_is_up_is_not_analysed(write: Write, tmp_path: Path) -> None:
    outcome = filterlens.audit(write(1), tmp_path / "run", time_limit=0)
    assert (outcome.unstarted, outcome.page) == (1, None)
    assert not (tmp_path / "run" / "scores.parquet").exists()


def test_a_job_that_would_end_too_late_is_not_begun(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module._Longest, "seconds", 100.0)
    outcome = filterlens.extract(write(1), tmp_path / "run", time_limit=50)
    assert (outcome.rows, outcome.unstarted) == ((), 1)


def test_a_download_is_not_waited_for_beyond_the_time_limit(write: Write, server: RangeServer, tmp_path: Path) -> None:
    def hang(handler: Handler) -> None:
        handler.serve(most=100)
        handler.wfile.flush()
        time.sleep(20)

    catalog = write(1)
    server.script = [hang]
    begun = time.monotonic()
    outcome = filterlens.extract(catalog, tmp_path / "run", time_limit=0.5)
    assert outcome.unstarted == 1
    assert time.monotonic() - begun < 15


def test_the_command_says_that_the_same_command_goes_on(write: Write, tmp_path: Path) -> None:
    catalog = write(2)
    command = [sys.executable, "-c", "from filterlens.cli import main; main()", "extract", "-l", str(catalog)]
    command += ["-o", str(tmp_path / "run"), "--time-limit", "0s"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == TIME_IS_UP == 143, done.stderr
    assert "filterlens: the time limit is near: 2 models are not begun: what is done is kept" in done.stderr
    assert "the same command goes on from here: filterlens extract -l" in done.stderr
    command[-1] = "1h"
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "fetched m0" in done.stdout


@pytest.mark.parametrize(
    ("text", "seconds"), [("3h45m", 13500), ("90m", 5400), ("2d", 172800), ("1d 2h", 93600), ("30S", 30)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "3:45", "h", "45m3h", "-3h", "3.5h", "\u0663h"])
def test_what_is_no_duration_is_told(text: str) -> None:
    with pytest.raises(InputError, match="give it as 3h45m, 90m, 2d or 30s"):
        parse_duration(text)
