"""Analysis: in any number of processes, of what has changed, without the models that cannot take part."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from small_zoo import make_zoo, scored

from filterlens.catalogs import load_catalog
from filterlens.runs import Event, analyze, extract
from filterlens.runs.executors import InProcess, LocalProcesses, local
from filterlens.runs.ledger import Ledger


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return make_zoo(tmp_path / "zoo", pairs=3)


def pooled(folder: Path) -> dict[str, Any]:
    with h5py.File(folder / "pooled.h5") as file:
        return {name: item[()] for name, item in file["filters"].items()}


def assert_same_pool(a: Path, b: Path) -> None:
    found, expected = pooled(a), pooled(b)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_processes_give_what_one_process_gives_bit_for_bit(zoo: Path, tmp_path: Path) -> None:
    tables = []
    for name, executor in (("here", InProcess()), ("there", LocalProcesses(2))):
        extract(load_catalog(zoo), tmp_path / name)
        tables.append(analyze(tmp_path / name, executor=executor))
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    assert_same_pool(tmp_path / "there", tmp_path / "here")


def test_one_analysis_starts_its_processes_once(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start = local._start_worker

    def counted(threads: int) -> local._Worker:
        started.append(threads)
        return start(threads)

    monkeypatch.setattr(local, "_start_worker", counted)
    extract(load_catalog(zoo), tmp_path / "run")
    analyze(tmp_path / "run", executor=LocalProcesses(2))
    assert len(started) == 2
    assert multiprocessing.active_children() == []


def test_a_new_model_is_scored_alone_and_pooled_with_the_others(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = load_catalog(zoo)
    extract(catalog.select(["net0*", "net1*"]), tmp_path / "run")
    analyze(tmp_path / "run", reuse=True)
    extract(catalog, tmp_path / "run", existing="extend")
    seen = scored(monkeypatch)
    table = analyze(tmp_path / "run", reuse=True)
    assert sorted(seen) == ["net2-normal", "net2-robust"]
    extract(catalog, tmp_path / "whole")
    pd.testing.assert_frame_equal(table, analyze(tmp_path / "whole"), check_exact=True)
    assert_same_pool(tmp_path / "run", tmp_path / "whole")
    seen.clear()
    analyze(tmp_path / "run", reuse=True)
    assert not seen


@pytest.mark.parametrize("damage", ["missing", "truncated", "of another state"])
def test_what_is_kept_of_models_is_made_anew_where_it_cannot_be_used(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    run = tmp_path / "run"
    extract(load_catalog(zoo), run)
    expected = analyze(run)
    before = pooled(run)
    kept = run / "summaries.h5"
    if damage == "missing":
        kept.unlink()
    elif damage == "truncated":
        kept.write_bytes(kept.read_bytes()[:-700])
    else:
        with h5py.File(kept, "r+") as file:
            for item in file["filters"].values():
                item.attrs["stamp"] = "1 1"
                item[...] = 7.0
    (run / "pooled.h5").unlink()
    seen = scored(monkeypatch)
    pd.testing.assert_frame_equal(analyze(run, reuse=True), expected, check_exact=True)
    assert len(seen) == 6
    for name, array in before.items():
        np.testing.assert_array_equal(pooled(run)[name], array)


class Losing(InProcess):
    """Loses the worker of one model's job."""

    def run(self, jobs: Sequence[Any], work: Any, listener: Any) -> Iterator[tuple[Any, Any]]:
        from filterlens.runs.executors import WorkerLost

        for job, result in super().run(jobs, work, listener):
            lost = getattr(job, "entry", None) is not None and job.entry.model_id == "net1-robust"
            yield job, WorkerLost("its process died") if lost else result


def test_a_lost_worker_costs_its_own_model(zoo: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    extract(load_catalog(zoo), run)
    heard: list[Event] = []
    table = analyze(run, executor=Losing(), listener=heard.append)
    assert table["model_id"].nunique() == 5
    assert [event.note for event in heard if "net1-robust" in event.note] == [
        "failed net1-robust · filters: scoring: its process died"
    ]
    assert Ledger(run / "ledger.jsonl").latest()["net1-robust", "filters"].status == "failed"
    analyze(run, reuse=True)
    assert Ledger(run / "ledger.jsonl").latest()["net1-robust", "filters"].status == "ok"


def test_scores_do_not_depend_on_how_many_threads_torch_has(zoo: Path, tmp_path: Path) -> None:
    import torch

    run, threads = tmp_path / "run", torch.get_num_threads()
    extract(load_catalog(zoo), run)
    tables = []
    try:
        for n in (1, os.cpu_count() or 2):
            torch.set_num_threads(n)
            tables.append(analyze(run))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
