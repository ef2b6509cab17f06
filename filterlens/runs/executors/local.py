"""Jobs in this process, or in several processes of this machine."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self, TypeVar

from filterlens.errors import InputError
from filterlens.process.interruption import deferred_signals, on_interruption, remove_on_interruption
from filterlens.runs.executors.protocol import Listener, Work, WorkerLost, is_ready
from filterlens.runs.executors.worker import BLOCKED, Finished, Raised, Reported, serve

__all__ = ["PRELOAD", "InProcess", "LocalProcesses"]

PRELOAD: Final = "FILTERLENS_PRELOAD"
"""Names modules, with commas between them, in the environment of the process that workers are forked from."""

Job = TypeVar("Job")
Result = TypeVar("Result")
_SECONDS = 3.0  # in which a worker removes its temporary files
_GRACE = 0.5  # in which the kernel ends a process
_LOOK = 0.2  # until a job that was not ready is looked at again
_MODULES: Final = ("filterlens.runs.executors.preloading",)  # imported before it forks
_NO_THREADS: Final = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}  # pyarrow's allocator would start one
_SOCKET_FOLDER = 70  # bytes of its path: with `/pymp-…/listener-…`, a socket's path has at most 103


class InProcess:
    """One job after the other, in this process."""

    local = True

    def for_analysis(self, _: Path | None) -> Self:
        """Return itself."""
        return self

    def keep_workers(self, _: Sequence[str] = ()) -> AbstractContextManager[None]:
        """Do nothing: there are none."""
        return nullcontext()

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
        self._kept: list[_Worker] | None = None

    def for_analysis(self, _: Path | None) -> Self:
        """Return itself."""
        return self

    @contextmanager
    def keep_workers(self, preload: Sequence[str] = ()) -> Iterator[None]:
        """Keep processes that wait for a job from one call of `run` to the next; end them with the block.

        The process that they are forked from is started at once, and imports while the caller goes on. Where it runs
        already, it stays as it is.
        """
        if self._kept is not None:
            yield
            return
        kept = self._kept = []
        with on_interruption(_end_server), on_interruption(partial(_end_all, kept, {})):
            try:
                _start_server(preload)
                yield
            finally:
                self._kept = None
                _end_all(kept, {}, wait=True)

    def run(
        self, jobs: Sequence[Job], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        """Yield every job with its result as it finishes; a job whose worker died is tried once more, alone."""
        if not jobs:
            return
        lost: list[int] = []
        with on_interruption(_end_server):
            _start_server()
            _await_server()
            for number, outcome in self._run(jobs, range(len(jobs)), work, listener):
                if isinstance(outcome, WorkerLost):
                    lost.append(number)
                else:
                    yield jobs[number], outcome
            for number in lost:
                for _, outcome in self._run(jobs, [number], work, listener):
                    yield jobs[number], outcome

    def _run(
        self, jobs: Sequence[Job], numbers: Sequence[int], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[int, Result | WorkerLost]]:
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        waiting = deque(numbers)
        busy: dict[Connection, _Worker] = {}
        idle: list[_Worker] = [] if self._kept is None else self._kept
        with on_interruption(partial(_end_all, idle, busy)):
            try:
                while waiting or busy:
                    while waiting and len(busy) < self.jobs and (not busy or is_ready(jobs, waiting[0])):
                        with deferred_signals():
                            worker = _take_living(idle) or _start_worker(threads)
                            busy[worker.connection] = worker
                        worker.take(waiting.popleft(), work, jobs)
                    patience = _LOOK if waiting and len(busy) < self.jobs else None
                    heard = wait_for(list(busy), timeout=patience)
                    for worker in [busy[found] for found in heard if isinstance(found, Connection)]:
                        message = worker.receive()
                        if isinstance(message, Reported):
                            listener(jobs[worker.number], message.what, message.done, message.total)
                            continue
                        del busy[worker.connection]
                        if isinstance(message, Finished | Raised):
                            idle.append(worker)
                        if isinstance(message, Raised):
                            raise message.error
                        if isinstance(message, Finished):
                            yield worker.number, message.result
                        else:
                            worker.process.join()
                            yield worker.number, message
            finally:
                _end_all([] if self._kept is idle else idle, busy, wait=True)


@dataclass(slots=True)
class _Worker:
    """A worker process, as its driver sees it."""

    process: Any  # multiprocessing's contexts share no public base
    connection: Connection
    number: int = -1

    def take(self, number: int, work: Work[Job, Result], jobs: Sequence[Job]) -> None:
        """Send it a job; that it has died shows when it is to answer."""
        self.number = number
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send((work, jobs[number]))

    def receive(self) -> Reported | Finished | Raised | WorkerLost:
        """Return its next message."""
        try:
            message: Reported | Finished | Raised = self.connection.recv()
        except (EOFError, OSError):
            return WorkerLost("its process died: most often the machine ran out of memory")
        return message


def _take_living(idle: list[_Worker]) -> _Worker | None:
    """Take a worker that waits; one may have died since it last answered."""
    while idle:
        worker = idle.pop()
        if worker.process.is_alive():
            return worker
        worker.connection.close()
    return None


def _start_worker(threads: int) -> _Worker:
    context = mp.get_context("forkserver")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, threads, tempfile.tempdir), daemon=True)
    with _without_main():
        process.start()
    there.close()
    return _Worker(process, here)


def _start_server(preload: Sequence[str] = ()) -> None:
    """Start the process that workers are forked from, unless it runs; `_await_server` waits until it can fork.

    Workers inherit from it that `BLOCKED` are blocked, that nothing is imported from the working folder, and what it
    has imported. It has no threads of its own, whose locks would stay locked in every fork.

    Parameters
    ----------
    preload
        Modules that it imports, besides those that every worker needs.
    """
    mp.get_context("forkserver").set_forkserver_preload(list(_MODULES))
    own = {"PYTHONSAFEPATH": "1", PRELOAD: ",".join(preload)} | _NO_THREADS
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        _choose_socket_folder()
        resource_tracker.ensure_running()  # apart, since it unblocks signals
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _await_server() -> None:
    """Wait until the process that workers are forked from has done its imports."""
    ready = mp.get_context("forkserver").Process(target=os.getpid)
    with _without_main():
        ready.start()
    ready.join()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the caller's script, which a process that starts would run again, unless it guards itself against that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _end_server(_: bool) -> None:  # noqa: FBT001 - an action
    """Kill the fork server: by itself it would end after its imports, which take seconds."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)  # there is no public name
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def _choose_socket_folder() -> None:
    """Have the fork server's socket in `/tmp` where its path would be too long for a socket."""
    before = tempfile.gettempdir()
    if len(os.fsencode(before)) > _SOCKET_FOLDER:
        tempfile.tempdir = "/tmp"  # noqa: S108 - `mkdtemp` makes a folder of ours in it
    remove_on_interruption(Path(util.get_temp_dir()))
    tempfile.tempdir = before


def _end_all(idle: list[_Worker], busy: dict[Connection, _Worker], wait: bool) -> None:  # noqa: FBT001 - an action
    """End all workers: busy ones are asked to (SIGTERM), and killed where they take too long."""
    for worker in idle:
        worker.connection.close()
    for worker in busy.values():
        worker.process.terminate()
    deadline = time.monotonic() + (_SECONDS if wait else 0)
    for worker in [*idle, *busy.values()]:
        worker.process.join(max(0, deadline - time.monotonic()))
        worker.process.kill()
        worker.process.join(_GRACE)
    for connection in busy:
        connection.close()
