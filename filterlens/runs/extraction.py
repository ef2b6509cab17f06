"""From a catalog's models to a run's dumps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from filterlens.catalogs import Catalog
from filterlens.dumps import DumpReader
from filterlens.errors import DumpError, InputError, WriteError
from filterlens.lens import Options, RunSettings, get_lens
from filterlens.runs.away import received, run_away
from filterlens.runs.config import RunConfig
from filterlens.runs.earlier import Existing, check_belongs, joined, read_earlier, remove_run
from filterlens.runs.events import Event, Outcome, versions
from filterlens.runs.executors import Executor, InProcess, WorkerLost
from filterlens.runs.folder import freeze_catalog, lock_folder
from filterlens.runs.jobs import Job, images_for, run_job
from filterlens.runs.kept import is_fresh
from filterlens.runs.keys import Keys
from filterlens.runs.ledger import Ledger, LedgerRow
from filterlens.runs.locks import with_locks, write_run_lock
from filterlens.runs.prepared import prepared
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
        known = {} if existing == "replace" else ledger.latest()
        every = _jobs(catalog, folder, config, keep_tracebacks=keep_tracebacks)
        config = replace(config, content=_content(every))
        if existing != "replace":
            models = {job.entry.model_id: key.model for job in every for key in job.keys.values()}
            check_belongs(catalog, folder, config, models, known, extend=existing == "extend")
        jobs: list[Job] = []
        kept: list[LedgerRow] = []
        for job in every:
            held = frozenset() if existing == "replace" else _held(job, listener)
            done = [row for name in job.options if (row := _done(known, job, name, held, extend=existing == "extend"))]
            kept += done
            if missing := set(job.options) - {row.lens for row in done}:
                jobs.append(job.only(missing))
        _check_images(jobs, config.settings)
        if existing == "replace":
            remove_run(folder, catalog)
        freeze_catalog(catalog, folder)
        joined(read_earlier(folder), config).write(folder / "run.toml", versions())
        rows = list(kept)

        deadline = math.inf if time_limit is None else begun_at + time_limit
        jobs = [replace(job, deadline=deadline) for job in with_locks(jobs, catalog, folder)]
        unstarted = 0
        for job, new in _results(jobs, executor, listener, evict=evict):
            if not new:
                unstarted += 1
                continue
            ledger.append(new)
            rows += new
            listener(Event(job.entry.model_id, "", 1, 1, tuple(new)))
        _lock(folder, ledger, listener)
    return Outcome(folder, tuple(rows), len(kept), time.monotonic() - begun, unstarted=unstarted)


def _results(
    jobs: list[Job], executor: Executor, listener: Callable[[Event], None], *, evict: bool
) -> Iterator[tuple[Job, list[LedgerRow]]]:
    """Yield every job and what became of it, its dump being in the run's folder."""

    def report_progress(job: Job, what: str, done: int, total: int) -> None:
        listener(Event(job.entry.model_id, what, done, total))

    if not executor.local:
        there = [replace(job, folder=job.folder.resolve()) for job in jobs]
        for job, sent in executor.run(there, run_away, report_progress):
            yield job, _lost(job, sent.reason) if isinstance(sent, WorkerLost) else received(job, sent)
        return
    with prepared(jobs, listener, at_once=getattr(executor, "jobs", 1), evict=evict) as ahead:
        for job, rows in executor.run(ahead, run_job, report_progress):
            ahead.finished(job)
            yield job, _lost(job, rows.reason) if isinstance(rows, WorkerLost) else rows


def _lock(folder: Path, ledger: Ledger, listener: Callable[[Event], None]) -> None:
    """Write the run's lock; where the disk is full that is said, and the next run writes it."""
    try:
        write_run_lock(folder, ledger.latest())
    except WriteError as error:
        listener(Event("", "", 0, 0, note=str(error)))


def _jobs(catalog: Catalog, folder: Path, config: RunConfig, *, keep_tracebacks: bool) -> list[Job]:
    """Every model with every lens, and the keys of the dumps to be."""
    made = Keys(catalog.folder, config.settings)
    jobs = []
    for entry in catalog:
        keys = {name: made.key(entry, get_lens(name), options) for name, options in config.lenses.items()}
        dump = folder / "dumps" / f"{entry.file_stem}.h5"
        jobs.append(Job(entry, catalog.folder, dump, dict(config.lenses), keys, config.settings, keep_tracebacks))
    return jobs


def _content(jobs: list[Job]) -> dict[str, str]:
    """Digests of what the settings name, for `run.toml`: images by data set, files by lens and option."""
    found = {}
    for job in jobs:
        for lens, key in job.keys.items():
            for name, digest in key.content.items():
                dataset = f".{job.entry.dataset}" if job.entry.dataset else ""
                found[f"data{dataset}" if name == "data" else f"{lens}.{name}"] = digest
    return {name: digest for name, digest in sorted(found.items()) if digest}


def _held(job: Job, listener: Callable[[Event], None]) -> frozenset[str]:
    """Lenses of a job's dump, whole or scored where that is enough; none of one that is damaged and made again."""
    if not job.dump.is_file():
        return frozenset()
    try:
        with DumpReader(job.dump) as dump:
            scored = [
                name
                for name in dump.scored
                if name in job.options and stores_nothing(get_lens(name), job.settings) and is_fresh(dump, name)
            ]
            return frozenset((*dump.lenses, *scored))
    except DumpError:
        listener(Event("", "", 0, 0, note=f"{job.dump} is damaged: extracted again"))
        return frozenset()


def _check_images(jobs: list[Job], settings: RunSettings) -> None:
    """Meet wrong `--data` before any model runs."""
    if settings.data and jobs:
        for name, options in jobs[0].options.items():
            images_for(jobs[0].entry, options, settings, lens=name, content=jobs[0].keys[name].content)


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


def _done(
    known: Mapping[tuple[str, str], LedgerRow], job: Job, lens: str, held: Collection[str], *, extend: bool
) -> LedgerRow | None:
    row = known.get((job.entry.model_id, lens))
    if row is None or not job.keys[lens].is_of(row.key, same_settings=not extend):
        return None
    return row if row.status == "skipped" or (row.status == "ok" and lens in held) else None


def _lost(job: Job, reason: str) -> list[LedgerRow]:
    return [
        LedgerRow(job.entry.model_id, name, "failed", reason, "WorkerLost", key=str(job.keys[name]))
        for name in job.options
    ]
