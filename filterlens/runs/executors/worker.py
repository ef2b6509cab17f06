"""A worker process of `LocalProcesses`: takes jobs from a pipe, and sends progress and results back."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

from filterlens.process.interruption import end_on_signals
from filterlens.process.logs import follow_logging

__all__ = ["BLOCKED", "Finished", "Raised", "Reported", "serve"]

BLOCKED = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal sends to workers too: the driver handles them, and ends its workers with SIGTERM."""
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Reported:
    """Progress of the job that runs."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The job's result."""

    result: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """What the job raised, to be raised by the driver."""

    error: Exception


def serve(connection: Connection, threads: int, tempdir: str | None) -> None:
    """Do the jobs that come as `(work, job)`, until the driver closes the pipe or dies.

    Parameters
    ----------
    connection
        To the driver.
    threads
        That one job uses.
    tempdir
        Where the driver has its temporary files.
    """
    end_on_signals([signal.SIGTERM], patience=_PATIENCE)
    for number in BLOCKED:
        signal.signal(number, signal.SIG_IGN)
    _end_with_driver()
    tempfile.tempdir = tempdir
    follow_logging()
    with suppress(ImportError):  # figures are drawn without it
        import torch

        torch.set_num_threads(threads)

    def report(what: str, done: int, total: int) -> None:
        connection.send(Reported(what, done, total))

    while True:
        try:
            work, job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            outcome: Finished | Raised = Finished(work(job, report))
        except Exception as error:  # noqa: BLE001 - the driver raises it
            outcome = Raised(error)
        connection.send(outcome)


def _end_with_driver() -> None:
    driver = mp.parent_process()
    if driver is None:
        return

    def watch(sentinel: int) -> None:
        wait_for([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=(driver.sentinel,), daemon=True).start()
