"""Executors give the same results wherever jobs run, and a worker that dies costs its own job only."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from worker_jobs import die_on_three, die_once, own_process, refuse_negative, square, tell_for_ever

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


def processes_of(executor: LocalProcesses) -> set[int]:
    found = [process for _, process in executor.run(range(6), own_process, lambda *_: None)]
    return {process for process in found if isinstance(process, int)}


def test_workers_are_kept_inside_the_block_alone() -> None:
    executor = LocalProcesses(2)
    with executor.keep_workers():
        first = processes_of(executor)
        with executor.keep_workers():
            assert processes_of(executor) <= first
        assert processes_of(executor) <= first
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
    assert not processes_of(executor) & first
    assert multiprocessing.active_children() == []


def test_a_kept_worker_that_died_while_it_waited_costs_no_job() -> None:
    executor = LocalProcesses(1)
    with executor.keep_workers():
        (process,) = processes_of(executor)
        os.kill(process, signal.SIGKILL)
        multiprocessing.active_children()[0].join()
        assert processes_of(executor).isdisjoint({process})
        assert dict(executor.run(range(3), square, lambda *_: None)) == {0: 0, 1: 1, 2: 4}


def test_kept_workers_end_with_an_error() -> None:
    executor = LocalProcesses(2)
    with pytest.raises(ValueError, match="no square of -1"), executor.keep_workers():
        list(executor.run([1, -1], refuse_negative, lambda *_: None))
    assert multiprocessing.active_children() == []


PRELOADED = """
from filterlens.lens import all_lenses
from filterlens.runs.executors import LocalProcesses
from worker_jobs import surroundings

modules = ["pandas", "no.such.module", *(module for lens in all_lenses().values() for module in lens.preload)]
executor = LocalProcesses(1)
with executor.keep_workers(modules):
    for module, (imported, threads) in executor.run(modules, surroundings, lambda *_: None):
        assert imported == (module != "no.such.module"), module
        assert threads == 1, threads
"""


def test_what_is_preloaded_is_there_in_every_worker_and_leaves_the_process_that_forks_without_threads() -> None:
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}  # a server that runs stays as it is
    subprocess.run([sys.executable, "-c", PRELOADED], check=True, env=os.environ | own)
