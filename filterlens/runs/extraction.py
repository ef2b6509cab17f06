"""From a catalog's models to a run's dumps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from filterlens.catalogs import Catalog
from filterlens.errors import InputError, WriteError
from filterlens.lens import Options, RunSettings, get_lens
from filterlens.process.extras import require_audit
from filterlens.runs.away import received, run_away, run_shard_away
from filterlens.runs.config import RunConfig
from filterlens.runs.earlier import Existing, joined, read_earlier, remove_run
from filterlens.runs.events import Event, Outcome, versions
from filterlens.runs.executors import Executor, InProcess, WorkerLost
from filterlens.runs.folder import freeze_catalog, lock_folder
from filterlens.runs.jobs import Job, run_job
from filterlens.runs.ledger import Ledger, LedgerRow
from filterlens.runs.locks import with_locks, write_run_lock
from filterlens.runs.parts import next_part, no_scores, write_part
from filterlens.runs.prepared import prepared
from filterlens.runs.remaining import Remaining, remaining
from filterlens.runs.shards import ShardResult, ShardTask, in_shards, lost_shard, needed_modules, run_shard
from filterlens.runs.undumped import stores_nothing

__all__ = ["check_device", "extract"]


def extract(
    catalog: Catalog,
    folder: Path,
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    settings: RunSettings | None = None,
    config: RunConfig | None = None,
    existing: Existing = "refuse",
    executor: Executor | None = None,
    listener: Callable[[Event], None] = lambda _: None,
    keep_tracebacks: bool = False,
    evict: bool = False,
    time_limit: float | None = None,
) -> Outcome:
    """Run lenses over a catalog's models and write one dump a model.

    Parameters
    ----------
    catalog
        The models.
    folder
        The run's folder; made if missing, resumed if not.
    lenses
        Their names, which take the papers' options, or options by name.
    settings
        What all lenses share.
    config
        Instead of both, for the folder's `run.toml`.
    existing
        What becomes of another run that the folder holds: `refuse`, `extend` (models are added, and what is there is
        kept under whatever options it was made) or `replace` (it is removed).
    executor
        Where jobs run; this process where None.
    listener
        Called with every `Event`.
    keep_tracebacks
        Store the traceback of a failure in the ledger.
    evict
        Remove a checkpoint that this run fetched once its lenses are done; never one that was there before.
    time_limit
        In seconds: no job is begun that would end later, if it took as long as the longest so far.

    Returns
    -------
        What became of every job, earlier ones that were kept included.

    Raises
    ------
    AuditLockedError
        Another audit works on the folder.
    InputError
        A lens is unknown, the images are wrong, or the folder holds another run: said before any model runs.
    CatalogError
        The folder holds a run of other models under the same ids.
    MissingExtraError
        Something is left to be done, and what does it is not installed.
    WriteError
        The run's folder cannot be written; a dump that cannot be is its model's failure.
    """
    begun, begun_at = time.monotonic(), time.time()
    if config is None:
        options = lenses if isinstance(lenses, Mapping) else {name: get_lens(name).options.paper() for name in lenses}
        config = RunConfig(leaderboard="catalog.csv", lenses=dict(options), settings=settings or RunSettings())
    executor = executor or InProcess()
    if executor.local:
        check_device(config.settings.device)
    elif evict:
        raise InputError("--evict is for jobs of this machine: on a cluster each node fetches for itself")
    if evict and any(stores_nothing(get_lens(name), config.settings) for name in config.lenses):
        raise InputError("--dumps none reads checkpoints again once all are scored, and --evict removes them: give one")
    with lock_folder(folder):
        ledger = Ledger(folder / "ledger.jsonl")
        found = remaining(catalog, folder, config, existing, listener=listener, keep_tracebacks=keep_tracebacks)
        if found.jobs and executor.local:
            require_audit()
        if existing == "replace":
            remove_run(folder, catalog)
        freeze_catalog(catalog, folder)
        joined(read_earlier(folder), found.config).write(folder / "run.toml", versions())
        _record(ledger, found.unrecorded)
        _tell_kept(found, listener)
        rows = list(found.kept)

        deadline = math.inf if time_limit is None else begun_at + time_limit
        every = with_locks(list(found.jobs), catalog, folder)
        timed = [replace(job, deadline=deadline, folder=job.folder.resolve()) for job in every]
        tasks, jobs = in_shards(timed, catalog)
        unstarted = 0
        with executor.keep_workers(needed_modules(tasks)) if tasks else nullcontext():
            for task, of_shard in _of_shards(tasks, folder, executor, listener):
                if not of_shard:
                    unstarted += len(task.jobs)
                    continue
                rows += of_shard
                listener(Event(task.title, "", 1, 1, tuple(of_shard)))
            for job, new in _results(jobs, executor, listener, evict=evict):
                if not new:
                    unstarted += 1
                    continue
                ledger.append(new)
                rows += new
                listener(Event(job.entry.model_id, "", 1, 1, tuple(new)))
        _lock(folder, ledger, listener)
    return Outcome(folder, tuple(rows), len(found.kept), time.monotonic() - begun, unstarted=unstarted)


def _results(
    jobs: list[Job], executor: Executor, listener: Callable[[Event], None], *, evict: bool
) -> Iterator[tuple[Job, list[LedgerRow]]]:
    """Yield every job and what became of it, its dump being in the run's folder."""

    def report_progress(job: Job, what: str, done: int, total: int) -> None:
        listener(Event(job.entry.model_id, what, done, total))

    if not executor.local:
        for job, sent in executor.run(jobs, run_away, report_progress):
            yield job, _lost(job, sent.reason) if isinstance(sent, WorkerLost) else received(job, sent)
        return
    with prepared(jobs, listener, at_once=getattr(executor, "jobs", 1), evict=evict) as ahead:
        for job, rows in executor.run(ahead, run_job, report_progress):
            ahead.finished(job)
            yield job, _lost(job, rows.reason) if isinstance(rows, WorkerLost) else rows


def _of_shards(
    tasks: Sequence[ShardTask], folder: Path, executor: Executor, listener: Callable[[Event], None]
) -> Iterator[tuple[ShardTask, list[LedgerRow]]]:
    """Yield every task and the rows of its models, its part being in the run's folder; none of what was not begun."""

    def report_progress(task: ShardTask, what: str, done: int, total: int) -> None:
        listener(Event(task.title, what, done, total))

    first = next_part(folder)
    numbered = [replace(task, number=first + place) for place, task in enumerate(tasks)]
    work = run_shard if executor.local else run_shard_away
    for task, came in executor.run(numbered, work, report_progress):
        result = ShardResult(lost_shard(task, came.reason), no_scores()) if isinstance(came, WorkerLost) else came
        if result is not None:
            write_part(folder, task.number, result.scores, result.rows)
        yield task, [] if result is None else result.rows


def _lock(folder: Path, ledger: Ledger, listener: Callable[[Event], None]) -> None:
    """Write the run's lock; where the disk is full that is said, and the next run writes it."""
    try:
        write_run_lock(folder, ledger.latest())
    except WriteError as error:
        listener(Event("", "", 0, 0, note=str(error)))


def _record(ledger: Ledger, rows: Sequence[LedgerRow]) -> None:
    if rows:
        ledger.append(list(rows))


def _tell_kept(found: Remaining, listener: Callable[[Event], None]) -> None:
    """Tell how many models there are, how many are done already, and which lenses of one that is not."""
    done = found.models - len(found.jobs)
    partly = {row.model_id for row in found.unrecorded} & {job.entry.model_id for job in found.jobs}
    note = f"{done} of {found.models} models are done already" if done or partly else ""
    note += f", and some lenses of {', '.join(sorted(partly))}" if partly else ""
    listener(Event("", "", done, found.models, note=note))


def check_device(device: str) -> None:
    """Refuse a device that is not there, before any model runs.

    Raises
    ------
    InputError
        The device is unknown or absent.
    """
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {device} cannot be used here ({str(error).splitlines()[0]}): "
            "choose cpu or a device that is there"
        ) from error


def _lost(job: Job, reason: str) -> list[LedgerRow]:
    return [
        LedgerRow(job.entry.model_id, name, "failed", reason, "WorkerLost", key=str(job.keys[name]))
        for name in job.options
    ]
