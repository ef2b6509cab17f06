"""From a catalog's models to a run's dumps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from filterlens.catalogs import Catalog
from filterlens.dumps import DumpReader
from filterlens.errors import DumpError, InputError
from filterlens.lens import Lens, Options, RunSettings, get_lens
from filterlens.runs.events import Event, Outcome
from filterlens.runs.executors import Executor, InProcess, WorkerLost
from filterlens.runs.folder import freeze_catalog, lock_folder
from filterlens.runs.jobs import Job, images_for, run_job
from filterlens.runs.ledger import Ledger, LedgerRow

__all__ = ["check_device", "extract"]


def extract(
    catalog: Catalog,
    folder: Path,
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    settings: RunSettings | None = None,
    executor: Executor | None = None,
    listener: Callable[[Event], None] = lambda _: None,
    keep_tracebacks: bool = False,
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
    executor
        Where jobs run; this process where None.
    listener
        Called with every `Event`.
    keep_tracebacks
        Store the traceback of a failure in the ledger.

    Returns
    -------
        What became of every job, earlier ones that were kept included.

    Raises
    ------
    AuditLockedError
        Another audit works on the folder.
    InputError
        A lens is unknown, or the images are wrong: said before any model runs.
    CatalogError
        The folder holds a run of other models under the same ids.
    WriteError
        The run's folder cannot be written; a dump that cannot be is its model's failure.
    """
    begun = time.monotonic()
    settings = settings or RunSettings()
    options = dict(lenses) if isinstance(lenses, Mapping) else {name: get_lens(name).options.paper() for name in lenses}
    chosen = [get_lens(name) for name in options]
    executor = executor or InProcess()
    if executor.local:
        check_device(settings.device)
    with lock_folder(folder):
        freeze_catalog(catalog, folder)
        ledger = Ledger(folder / "ledger.jsonl")
        known = ledger.latest()
        jobs: list[Job] = []
        kept: list[LedgerRow] = []
        for entry in catalog:
            dump = folder / "dumps" / f"{entry.file_stem}.h5"
            job = Job(entry, catalog.folder, dump, options, settings, keep_tracebacks)
            held = _held(dump, listener)
            done = [row for lens in chosen if (row := _done(known, job, lens, there=lens.name in held))]
            kept += done
            missing = {name: own for name, own in options.items() if name not in {row.lens for row in done}}
            if missing:
                jobs.append(replace(job, options=missing))
        _check_images(jobs, settings)
        rows = list(kept)

        def report_progress(job: Job, what: str, done: int, total: int) -> None:
            listener(Event(job.entry.model_id, what, done, total))

        for job, result in executor.run(jobs, run_job, report_progress):
            new = _lost(job, result.reason) if isinstance(result, WorkerLost) else result
            ledger.append(new)
            rows += new
            listener(Event(job.entry.model_id, "", 1, 1, tuple(new)))
    return Outcome(folder, tuple(rows), len(kept), time.monotonic() - begun)


def _held(dump: Path, listener: Callable[[Event], None]) -> frozenset[str]:
    """Lenses of a dump; none of one that is damaged, which is extracted again."""
    if not dump.is_file():
        return frozenset()
    try:
        with DumpReader(dump) as reader:
            return frozenset(reader.lenses)
    except DumpError:
        listener(Event("", "", 0, 0, note=f"{dump} is damaged: extracted again"))
        return frozenset()


def _check_images(jobs: list[Job], settings: RunSettings) -> None:
    """Meet wrong `--data` before any model runs."""
    if settings.data and jobs:
        for name, options in jobs[0].options.items():
            images_for(jobs[0].entry, options, settings, lens=name)


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


def _done(known: dict[tuple[str, str], LedgerRow], job: Job, lens: Lens, *, there: bool) -> LedgerRow | None:
    row = known.get((job.entry.model_id, lens.name))
    if row is None or row.key != job.key(lens):
        return None
    return row if row.status == "skipped" or (row.status == "ok" and there) else None


def _lost(job: Job, reason: str) -> list[LedgerRow]:
    return [
        LedgerRow(job.entry.model_id, name, "failed", reason, "WorkerLost", key=job.key(get_lens(name)))
        for name in job.options
    ]
