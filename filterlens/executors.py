"""Where jobs run: this process, local processes, or a Ray cluster.

An executor takes picklable jobs and a module-level function `work(job, progress)`, and yields `(job, result)` as
they finish, in any order. A worker that dies (out of memory, lost node) costs its own job only: the job comes back
with a `WorkerLost` result. Numbers do not depend on the executor.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait as wait_for
from typing import Any, Protocol, TypeVar

from filterlens.errors import InputError, MissingExtraError

__all__ = ["Executor", "InProcess", "LocalProcesses", "Progress", "RayCluster", "WorkerLost"]

Job = TypeVar("Job")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)` while a job runs."""
Work = Callable[[Job, Progress], Result]
Listener = Callable[[Any, str, int, int], None]
"""Called in the driver as `listener(job, what, done, total)`."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The result of a job whose worker died, also on the second try."""

    reason: str


class Executor(Protocol):
    """Runs jobs somewhere."""

    def run(
        self, jobs: Sequence[Job], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        """Yield every job with its result as soon as it is there."""
        ...


class InProcess:
    """One job after the other, in this process."""

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

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise InputError(f"--jobs {jobs}: give the number of processes, 1 or more")
        self.jobs = jobs

    def run(
        self, jobs: Sequence[Job], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        """Yield every job with its result as it finishes; a job whose worker died is tried once more, alone."""
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(["torch", "filterlens.pipeline"])
        with context.Manager() as manager:
            messages = manager.Queue()
            forward = partial(_forward, work, messages)
            hear = partial(_pass_on, messages, jobs, listener)
            lost: list[int] = []
            for number, outcome in self._pool(context, list(enumerate(jobs)), forward, hear):
                if isinstance(outcome, WorkerLost):
                    lost.append(number)
                else:
                    yield jobs[number], outcome
            for number in lost:
                for _, outcome in self._pool(context, [(number, jobs[number])], forward, hear):
                    yield jobs[number], outcome

    def _pool(
        self,
        context: Any,  # noqa: ANN401 - multiprocessing's contexts share no public base
        numbered: list[tuple[int, Job]],
        forward: Callable[[int, Job], Result],
        hear: Callable[[], None],
    ) -> Iterator[tuple[int, Result | WorkerLost]]:
        processes = min(self.jobs, len(numbered))
        threads = max(1, (os.cpu_count() or 1) // self.jobs)

        def fresh() -> ProcessPoolExecutor:
            return ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker, initargs=(threads,))

        pool = fresh()
        broken = False
        pending: dict[Future[Result], int] = {}
        waiting = list(reversed(numbered))
        try:
            while waiting or pending:
                if broken and not pending:
                    pool.shutdown(wait=False)
                    pool, broken = fresh(), False
                # few jobs in flight: when a worker dies, every job in flight is lost with it
                while waiting and not broken and len(pending) < processes:
                    try:
                        pending[pool.submit(forward, *waiting[-1])] = waiting[-1][0]
                        waiting.pop()
                    except BrokenProcessPool:
                        broken = True
                finished, _ = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                hear()
                for future in finished:
                    number = pending.pop(future)
                    try:
                        yield number, future.result()
                    except BrokenProcessPool:
                        broken = True
                        yield number, WorkerLost("its process died: most often the machine ran out of memory")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class RayCluster:
    """A Ray cluster: schedules processors and GPUs, and survives the loss of a node.

    Parameters
    ----------
    address
        `auto` for the cluster that this machine belongs to, else its address; `local` starts one here.
    gpus_per_model
        GPUs that one job takes; fractions share a GPU.
    cpus_per_model
        Processors that one job takes.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    InputError
        No cluster answers at the address.
    """

    def __init__(self, address: str = "auto", *, gpus_per_model: float = 0.0, cpus_per_model: float = 1.0) -> None:
        self.address = address
        self.gpus_per_model = gpus_per_model
        self.cpus_per_model = cpus_per_model

    def run(
        self, jobs: Sequence[Job], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        """Yield every job with its result as it finishes; Ray itself moves jobs off nodes that are lost."""
        ray = self._connect()
        threads = max(1, int(self.cpus_per_model))
        remote = ray.remote(num_cpus=self.cpus_per_model, num_gpus=self.gpus_per_model, max_retries=3, max_calls=20)(
            _on_ray
        )
        pending = {remote.remote(work, job, threads): job for job in jobs}
        while pending:
            finished, _ = ray.wait(list(pending), num_returns=1, timeout=1.0)
            for reference in finished:
                job = pending.pop(reference)
                listener(job, "finished on the cluster", 1, 1)
                try:
                    yield job, ray.get(reference)
                except ray.exceptions.RayError as error:
                    yield job, WorkerLost(f"the cluster lost it four times ({type(error).__name__})")

    def _connect(self) -> Any:  # noqa: ANN401 - the optional module itself
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("--ray needs Ray: pip install 'filterlens[ray]'") from error
        if not ray.is_initialized():
            local = self.address == "local"
            try:
                ray.init(
                    address=None if local else self.address,
                    include_dashboard=False,
                    logging_level="ERROR",
                    log_to_driver=False,
                    **({"_node_ip_address": "127.0.0.1"} if local else {}),
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise InputError(
                    f"no Ray cluster answers at {self.address!r} ({error}): start one with `ray start --head`, "
                    "or use --ray local"
                ) from error
        return ray


def _on_ray(work: Work[Job, Result], job: Job, threads: int) -> Result:
    import torch

    torch.set_num_threads(threads)
    return work(job, lambda *_: None)


def _start_worker(threads: int) -> None:
    """Divide the threads, leave Ctrl-C to the driver, and end with the driver."""
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    parent = mp.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


def _forward(work: Work[Job, Result], messages: Any, number: int, job: Job) -> Result:  # noqa: ANN401 - a proxy
    return work(job, lambda what, done, total: messages.put((number, what, done, total)))


def _pass_on(messages: Any, jobs: Sequence[Job], listener: Listener) -> None:  # noqa: ANN401 - a proxy
    while True:
        try:
            number, what, done, total = messages.get_nowait()
        except queue.Empty:
            return
        listener(jobs[number], what, done, total)
