"""Which models x which lenses: extract, analyse, resume.

`extract` fills a run's folder with dumps, `analyze` turns dumps into `scores.parquet` and `pooled.h5`. Both do only
what is missing: a job is done when the ledger has it under the same key (source, settings, schema) and its dump is
there. One model's failure never stops the others.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from filterlens import __version__
from filterlens.catalogs import Catalog, Entry, read_catalog
from filterlens.dumps import SCHEMA, DumpReader, DumpWriter
from filterlens.errors import CatalogError, DumpError, FilterlensError, InputError, LensSkipped
from filterlens.executors import Executor, InProcess, Progress, WorkerLost
from filterlens.files import sweep
from filterlens.inputs.images import Images
from filterlens.ledger import Ledger, LedgerRow
from filterlens.lenses import Lens, all_lenses, get_lens, resolve
from filterlens.memory import give_back
from filterlens.run_folder import freeze_catalog, lock_folder, read_json, stamp, write_json
from filterlens.scores.table import as_table, read_scores, write_scores
from filterlens.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Event", "Job", "Outcome", "analyze", "extract"]


@dataclass(frozen=True, slots=True)
class Job:
    """One model with the lenses that are to look at it; small and picklable."""

    entry: Entry
    folder: Path
    dump: Path
    lenses: tuple[str, ...]
    settings: Settings
    keep_tracebacks: bool = False

    def key(self, lens: Lens) -> str:
        """Digest of what decides the lens's numbers."""
        decides: dict[str, object] = {
            "source": self.entry.source,
            "file": stamp(self.folder / _file_of(self.entry.source)),
            "eps": self.entry.eps,
            "normalisation": [self.entry.mean, self.entry.std],
            "settings": self.settings.part(lens.settings),
            "schema": SCHEMA,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _file_of(source: str) -> str:
    """Path of the file that a source names, if it names one: alone, after `?weights=`, or as `filterdb:PATH#NUMBER`."""
    if source.startswith("filterdb:"):
        return source.removeprefix("filterdb:").rpartition("#")[0]
    _, named, weights = source.partition("?weights=")
    return unquote(weights) if named else source


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a progress display wants to know.

    `what` is empty when the job has ended; `rows` then say how.
    """

    model_id: str
    what: str
    done: int
    total: int
    rows: tuple[LedgerRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an extraction ended: the latest ledger row of every job asked for."""

    folder: Path
    rows: tuple[LedgerRow, ...]
    reused: int
    seconds: float

    def count(self, status: str) -> int:
        """How many jobs ended so."""
        return sum(row.status == status for row in self.rows)


def extract(
    catalog: Catalog,
    folder: Path,
    *,
    lenses: Sequence[str] = ("filters",),
    settings: Settings | None = None,
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
        Their names.
    settings
        The papers' where None.
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
    settings = settings or Settings()
    chosen = [get_lens(name) for name in lenses]
    executor = executor or InProcess()
    if executor.local:
        check_device(settings.device)
    with lock_folder(folder):
        freeze_catalog(catalog, folder)
        _sweep(folder)
        ledger = Ledger(folder / "ledger.jsonl")
        known = ledger.latest()
        jobs: list[Job] = []
        kept: list[LedgerRow] = []
        for entry in catalog:
            dump = folder / "dumps" / f"{entry.file_stem}.h5"
            job = Job(entry, catalog.folder, dump, tuple(lenses), settings, keep_tracebacks)
            there = dump.is_file()
            done = [row for lens in chosen if (row := _done(known, job, lens, there=there))]
            kept += done
            missing = tuple(lens.name for lens in chosen if lens.name not in {row.lens for row in done})
            if missing:
                jobs.append(replace(job, lenses=missing))
        _check_images(jobs, settings)
        rows = list(kept)

        def hear(job: Job, what: str, done: int, total: int) -> None:
            listener(Event(job.entry.model_id, what, done, total))

        try:
            for job, result in executor.run(jobs, run_job, hear):
                new = _lost(job, result.reason) if isinstance(result, WorkerLost) else result
                ledger.append(new)
                rows += new
                listener(Event(job.entry.model_id, "", 1, 1, tuple(new)))
        finally:
            _sweep(folder)
    return Outcome(folder, tuple(rows), len(kept), time.monotonic() - begun)


def _sweep(folder: Path) -> None:
    """Remove what workers that died left of their dumps."""
    for place in (folder, folder / "dumps"):
        sweep(place)


def run_job(job: Job, progress: Progress) -> list[LedgerRow]:
    """Load one model and let every lens of the job look at it; never raises for a model's own faults."""
    from filterlens.inputs import check_fits
    from filterlens.loaders import load_model

    blank = {
        name: LedgerRow(
            job.entry.model_id,
            name,
            "ok",
            key=job.key(get_lens(name)),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            host=socket.gethostname(),
            versions=versions(),
        )
        for name in job.lenses
    }
    give_back()  # what the model before has left
    progress("loading", 0, 1)
    try:
        model = load_model(job.entry, job.folder, trust_pickle=job.settings.trust_pickle)
    except Exception as error:  # noqa: BLE001 - the one broad catch: a job of a batch is isolated
        return [_failed(row, error, keep_traceback=job.keep_tracebacks) for row in blank.values()]
    rows: list[LedgerRow] = []
    attributes = {
        "model_id": job.entry.model_id,
        "source": job.entry.source,
        "sha256": model.sha256,
        "catalog_row": job.entry.model_dump_json(),
        "torch_version": versions()["torch"],
    }
    try:
        with DumpWriter(job.dump, attributes) as dump:
            for name, row in blank.items():
                lens, begun = get_lens(name), time.monotonic()
                noted = replace(row, sha256=model.sha256, notes=model.notes)
                try:
                    images = images_for(job.entry, lens, job.settings)
                    if images is not None:
                        check_fits(images, model.input_size)
                    parameters = job.settings.part(lens.settings) | {"versions": versions()}
                    resolve(lens.extract)(
                        model,
                        job.entry,
                        images,
                        job.settings,
                        dump.lens(name, parameters),
                        lambda done, total, name=name: progress(name, done, total),
                    )
                except LensSkipped as reason:
                    dump.discard(name)
                    noted = replace(noted, status="skipped", reason=str(reason))
                except Exception as error:  # noqa: BLE001 - one lens's failure leaves the others their results
                    dump.discard(name)
                    noted = _failed(noted, error, keep_traceback=job.keep_tracebacks)
                rows.append(replace(noted, seconds=round(time.monotonic() - begun, 3)))
            if not dump.lenses:
                dump.cancel()
    except FilterlensError as error:
        return [_failed(row, error, keep_traceback=job.keep_tracebacks) for row in blank.values()]
    return rows


def analyze(
    folder: Path,
    *,
    reuse: bool = False,
    listener: Callable[[Event], None] = lambda _: None,
    keep_tracebacks: bool = False,
) -> pd.DataFrame:
    """Turn a run's dumps into `scores.parquet` and `pooled.h5`. Needs no model.

    Parameters
    ----------
    folder
        A run's folder.
    reuse
        Keep the scores of dumps that have not changed since the last analysis.
    listener
        Called with every `Event`.
    keep_tracebacks
        Store the traceback of a dump that cannot be read in the ledger.

    Returns
    -------
        The tidy score table (see `filterlens.scores.table`).

    Raises
    ------
    CatalogError, DumpError
        The folder is no run's folder, or nothing could be extracted.
    WriteError
        The disk is full or the folder cannot be written.
    """
    if not (folder / "catalog.csv").is_file():
        raise CatalogError(f"{folder} is not a run's folder: it has no catalog.csv; run `filterlens extract` first")
    catalog = read_catalog(folder / "catalog.csv")
    with lock_folder(folder):
        return _analyze(catalog, folder, reuse=reuse, listener=listener, keep_tracebacks=keep_tracebacks)


def _analyze(
    catalog: Catalog, folder: Path, *, reuse: bool, listener: Callable[[Event], None], keep_tracebacks: bool
) -> pd.DataFrame:
    ledger = Ledger(folder / "ledger.jsonl")
    dumps = [(entry, folder / "dumps" / f"{entry.file_stem}.h5") for entry in catalog]
    dumps = [(entry, path) for entry, path in dumps if path.is_file()]
    if not dumps:
        raise DumpError(f"{folder} holds no dumps: nothing was extracted (see {folder / 'ledger.jsonl'} for why)")
    seen_path, table_path = folder / "analysis.json", folder / "scores.parquet"
    seen = read_json(seen_path) if reuse and table_path.is_file() else {}
    stamps = {entry.model_id: f"{__version__} {stamp(path)}" for entry, path in dumps}
    if seen == stamps:
        return read_scores(table_path)
    old = read_scores(table_path) if seen else None
    parts: list[pd.DataFrame] = []
    good: list[tuple[Entry, Path]] = []
    for count, (entry, path) in enumerate(dumps):
        listener(Event(entry.model_id, "scoring", count, len(dumps)))
        if old is not None and seen.get(entry.model_id) == stamps[entry.model_id]:
            parts.append(old[old["model_id"] == entry.model_id])
            good.append((entry, path))
            continue
        try:
            parts.append(_score_dump(entry, path))
            give_back()
            good.append((entry, path))
        except DumpError as error:
            blank = LedgerRow(entry.model_id, "", "failed", host=socket.gethostname(), versions=versions())
            row = _failed(blank, error, keep_traceback=keep_tracebacks)
            try:
                with DumpReader(path) as reader:
                    lenses = reader.lenses
            except DumpError:
                lenses = list({lens for model, lens in ledger.latest() if model == entry.model_id})
            ledger.append([replace(row, lens=lens) for lens in lenses])
            del stamps[entry.model_id]
    if not parts:
        raise DumpError(f"no dump under {folder / 'dumps'} can be read: extract again")
    import pandas as pd

    scores = pd.concat(parts, ignore_index=True)
    _pool(good, folder, listener)
    write_scores(scores, table_path)
    write_json(seen_path, stamps)
    listener(Event("", "", len(dumps), len(dumps)))
    return scores


def _score_dump(entry: Entry, path: Path) -> pd.DataFrame:
    """Score everything that one dump holds."""
    rows: list[dict[str, object]] = []
    with DumpReader(path) as reader:
        for name in reader.lenses:
            if name in all_lenses():
                found = resolve(get_lens(name).analyze)(reader.lens(name))
                rows += [{"model_id": entry.model_id, "lens": name, **row} for row in found]
    return as_table(rows)


def _pool(dumps: list[tuple[Entry, Path]], folder: Path, listener: Callable[[Event], None]) -> None:
    """Let every lens that has one compute what it says over all models together."""
    with DumpWriter(folder / "pooled.h5", {"model_id": folder.name, "source": "pooled"}) as out:
        for lens in all_lenses().values():
            if not lens.pool:
                continue
            holding = []
            for entry, path in dumps:
                with DumpReader(path) as reader:
                    if lens.name in reader.lenses:
                        holding.append((entry, path))
            if holding:
                listener(Event("", f"{lens.name}: all models together", 0, 1))
                try:
                    resolve(lens.pool)(holding, out.lens(lens.name, {"models": len(holding)}))
                except LensSkipped:
                    out.discard(lens.name)


def images_for(entry: Entry, lens: Lens, settings: Settings) -> Images | None:
    """Return the images that a lens looks at, or None where it needs none.

    Raises
    ------
    InputError
        No data are named, or they cannot be read.
    """
    if not lens.needs_images:
        return None
    data = settings.data or entry.dataset
    if not data:
        raise InputError(f"the {lens.name} lens needs images: name them with --data")
    return _images(data, entry.dataset, settings.images or lens.images, settings.seed, settings.fonts)


@lru_cache(maxsize=2)
def _images(data: str, dataset: str, n: int, seed: int, fonts: Path | None) -> Images:
    from filterlens.inputs import load_images

    return load_images(data, n, seed=seed, dataset=dataset, fonts=fonts)


def _check_images(jobs: list[Job], settings: Settings) -> None:
    """Meet wrong `--data` before any model runs."""
    if settings.data and jobs:
        needy = [get_lens(name) for job in jobs[:1] for name in job.lenses]
        for lens in needy:
            images_for(jobs[0].entry, lens, settings)


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


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions that may change a number."""
    from importlib.metadata import version

    names = ("torch", "torchvision", "timm", "robustbench", "numpy", "scipy")
    return {"filterlens": __version__} | {name: version(name) for name in names}


def _done(known: dict[tuple[str, str], LedgerRow], job: Job, lens: Lens, *, there: bool) -> LedgerRow | None:
    row = known.get((job.entry.model_id, lens.name))
    if row is None or row.key != job.key(lens):
        return None
    return row if row.status == "skipped" or (row.status == "ok" and there) else None


def _failed(row: LedgerRow, error: Exception, *, keep_traceback: bool) -> LedgerRow:
    reason = str(error) if isinstance(error, FilterlensError) else f"{type(error).__name__}: {error}"
    return replace(
        row,
        status="failed",
        reason=reason,
        error_class=type(error).__name__,
        traceback="".join(traceback.format_exception(error)) if keep_traceback else "",
    )


def _lost(job: Job, reason: str) -> list[LedgerRow]:
    return [
        LedgerRow(job.entry.model_id, name, "failed", reason, "WorkerLost", key=job.key(get_lens(name)))
        for name in job.lenses
    ]
