"""A job on another machine: its dump travels back, and the driver alone writes into the run's folder."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from filterlens.dumps import receive_dump
from filterlens.errors import FilterlensError, InputError
from filterlens.lens import get_lens
from filterlens.runs.events import failed
from filterlens.runs.executors import Progress
from filterlens.runs.jobs import Job, run_job
from filterlens.runs.keys import Keys
from filterlens.runs.ledger import LedgerRow
from filterlens.runs.shards import ShardResult, ShardTask, run_shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sent", "received", "run_away", "run_shard_away"]


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What became of a job elsewhere.

    Parameters
    ----------
    rows
        As `run_job` returns them.
    dump
        The bytes of its dump, or None where it has made none.
    """

    rows: list[LedgerRow]
    dump: NDArray[np.uint8] | None = None


def run_away(job: Job, progress: Progress) -> Sent:
    """Do a job in a temporary folder, where this machine sees the same files as the driver."""
    try:
        _check_files(job)
    except FilterlensError as error:
        host = socket.gethostname()
        rows = [
            LedgerRow(job.entry.model_id, name, "failed", key=str(job.keys[name]), host=host) for name in job.options
        ]
        return Sent([failed(row, error, keep_traceback=job.keep_tracebacks) for row in rows])
    with tempfile.TemporaryDirectory(prefix="filterlens-") as folder:
        path = Path(folder) / job.dump.name
        rows = run_job(replace(job, dump=path), progress)
        return Sent(rows, np.fromfile(path, np.uint8) if path.is_file() else None)


def run_shard_away(task: ShardTask, progress: Progress) -> ShardResult | None:
    """Do the models of one file where this machine sees the same as the driver; the others fail."""
    return run_shard(replace(task, jobs=tuple(map(_checked, task.jobs))), progress)


def _checked(job: Job) -> Job:
    try:
        _check_files(job)
    except FilterlensError as error:
        return replace(job, error=error)
    return job


def received(job: Job, sent: Sent) -> list[LedgerRow]:
    """Write the dump of a job, beside lenses that an earlier one holds; what cannot be written is the job's failure."""
    try:
        if sent.dump is not None:
            receive_dump(sent.dump, job.dump)
    except FilterlensError as error:
        return [failed(row, error, keep_traceback=job.keep_tracebacks) for row in sent.rows]
    return sent.rows


def _check_files(job: Job) -> None:
    """Refuse a job whose local files are missing here, or others than those of the driver."""
    here = Keys(job.folder, job.settings)
    for name, options in job.options.items():
        there, now = job.keys[name], here.key(job.entry, get_lens(name), options)
        if now.model != there.model:
            raise InputError(
                f"node {socket.gethostname()} does not see the driver's {job.entry.source!r} of {job.folder}: "
                "copy the catalog's local files to every node, or to a folder that all of them see"
            )
        if now.settings != there.settings:
            raise InputError(
                f"node {socket.gethostname()} does not see the driver's images, or files that options of the {name} "
                "lens name: copy them to every node, or to a folder that all of them see"
            )
