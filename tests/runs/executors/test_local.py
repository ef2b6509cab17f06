"""Executors give the same results wherever jobs run, and a worker that dies costs its own job only."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from worker_jobs import die_on_three, die_once, refuse_negative, square, tell_for_ever

from filterlens.errors import InputError
from filterlens.runs.executors import Executor, InProcess, LocalProcesses, WorkerLost


@pytest.mark.parametrize("executor", [InProcess(), LocalProcesses(2)], ids=["in-process", "processes"])
def test_every_job_comes_back_with_its_result(executor: Executor) -> None:
    heard: list[tuple[int, str]] = []
    results = dict(executor.run(range(6), square, lambda job, what, *_: heard.append((job, what))))
    assert results == {n: n * n for n in range(6)}
    assert set(heard) <= {(n, "squaring") for n in range(6)}
    assert heard


def test_a_worker_that_dies_costs_its_own_job_only() -> None:
    results = dict(LocalProcesses(2).run(range(6), die_on_three, lambda *_: None))
    assert isinstance(results.pop(3), WorkerLost)
    assert results == {n: n for n in range(6) if n != 3}


def test_a_job_whose_worker_died_is_tried_once_more(tmp_path: Path) -> None:
    job = str(tmp_path / "tried")
    assert list(LocalProcesses(1).run([job], die_once, lambda *_: None)) == [(job, "done")]


def test_jobs_end_when_nobody_listens_any_more(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    jobs = [str(tmp_path / "first"), str(tmp_path / "second")]
    with pytest.raises(KeyboardInterrupt):
        list(LocalProcesses(2).run(jobs, tell_for_ever, stop))
    assert multiprocessing.active_children() == []


def test_what_a_job_raises_is_raised_by_the_driver_and_leaves_no_process() -> None:
    with pytest.raises(ValueError, match="no square of -1"):
        list(LocalProcesses(2).run([1, -1], refuse_negative, lambda *_: None))
    assert multiprocessing.active_children() == []


def test_no_jobs_start_no_process() -> None:
    assert list(LocalProcesses(2).run([], square, lambda *_: None)) == []


def test_no_process_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="give the number of processes"):
        LocalProcesses(0)
