"""Jobs in this process, or in several processes of this machine."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

from filterlens.errors import InputError
from filterlens.runs.executors.protocol import Listener, Work, WorkerLost
from filterlens.runs.logs import follow_logging

__all__ = ["InProcess", "LocalProcesses"]

Job = TypeVar("Job")
Result = TypeVar("Result")


class InProcess:
    """One job after the other, in this process."""

    local = True

    def run(
        self, jobs: Sequence[Job], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        """Yield every job with its result, in order."""
        for job in jobs:
            yield job, work(job, lambda what, done, total, job=job: listener(job, what, done, total))  # type: ignore[misc]


class LocalProcesses:
    """Several processes on this machine, its processor threads divided among them.

    Parameters
    ----------
    jobs
        How many processes, at least 1.

    Raises
    ------
    InputError
        Fewer than one process is asked for.
    """

    local = True

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise InputError(f"--jobs {jobs}: give the number of processes, 1 or more")
        self.jobs = jobs

    def run(
        self, jobs: Sequence[Job], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        """Yield every job with its result as it finishes; a job whose worker died is tried once more, alone."""
        if not jobs:
            return
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(["torch", "filterlens.runs"])
        _start_server(context)
        lost: list[int] = []
        for number, outcome in self._pool(context, jobs, range(len(jobs)), work, listener):
            if isinstance(outcome, WorkerLost):
                lost.append(number)
            else:
                yield jobs[number], outcome
        for number in lost:
            for _, outcome in self._pool(context, jobs, [number], work, listener):
                yield jobs[number], outcome

    def _pool(
        self,
        context: Any,  # noqa: ANN401 - multiprocessing's contexts share no public base
        jobs: Sequence[Job],
        numbers: Sequence[int],
        work: Work[Job, Result],
        listener: Listener,
    ) -> Iterator[tuple[int, Result | WorkerLost]]:
        processes = min(self.jobs, len(numbers))
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        pool, heard = _fresh_pool(context, processes, threads)
        broken = False
        pending: dict[Future[Result], int] = {}
        waiting = list(reversed(numbers))
        try:
            while waiting or pending:
                if broken and not pending:
                    pool.shutdown()
                    heard.close()
                    pool, heard = _fresh_pool(context, processes, threads)
                    broken = False
                # few jobs in flight: when a worker dies, every job in flight is lost with it
                while waiting and not broken and len(pending) <= processes:
                    try:
                        pending[pool.submit(_forward, work, waiting[-1], jobs[waiting[-1]])] = waiting[-1]
                        waiting.pop()
                    except BrokenProcessPool:
                        broken = True
                finished, _ = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                while heard.poll():
                    number, what, done, total = heard.recv()
                    listener(jobs[number], what, done, total)
                for future in finished:
                    number = pending.pop(future)
                    try:
                        yield number, future.result()
                    except BrokenProcessPool:
                        broken = True
                        yield number, WorkerLost("its process died: most often the machine ran out of memory")
        finally:
            heard.close()  # ends jobs that still run: they can tell nobody
            # waited for: what Python does at its exit otherwise meets pipes that are being closed
            pool.shutdown(cancel_futures=True)


def _start_server(context: Any) -> None:  # noqa: ANN401 - as above
    """Start the process that workers are forked from, deaf to Ctrl-C: the driver hears it and ends them.

    It imports for a second before it would turn deaf itself, and a signal then is a traceback on the terminal; so is
    a worker that is asked for meanwhile, and finds that its driver has gone.
    """
    resource_tracker.ensure_running()  # unblocks the signal when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    ready = context.Process(target=os.getpid)
    ready.start()
    ready.join()


def _fresh_pool(context: Any, processes: int, threads: int) -> tuple[ProcessPoolExecutor, Connection]:  # noqa: ANN401 - as above
    """Start workers, and a pipe on which they tell of their progress.

    Each pool has its own: a worker that dies may keep the lock.
    """
    heard, told = context.Pipe(duplex=False)
    start = (threads, told, context.Lock())
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker, initargs=start), heard


class _Worker:
    """What a worker process knows of its driver."""

    told: Connection
    lock: Any


def _start_worker(threads: int, told: Connection, lock: Any) -> None:  # noqa: ANN401 - a context's lock
    """Divide the threads, leave Ctrl-C to the driver, and end with the driver."""
    import torch

    follow_logging()
    _Worker.told, _Worker.lock = told, lock
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    parent = mp.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


def _forward(work: Work[Job, Result], number: int, job: Job) -> Result:
    def tell(what: str, done: int, total: int) -> None:
        with _Worker.lock:
            _Worker.told.send((number, what, done, total))

    return work(job, tell)
