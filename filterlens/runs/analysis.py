"""From a run's dumps to its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import numpy as np

from filterlens.catalogs import Catalog, Entry, read_catalog
from filterlens.dumps import DumpReader
from filterlens.errors import CatalogError, DumpError, ReportError
from filterlens.lens import Lens, RunSettings, all_lenses
from filterlens.process.extras import require_audit
from filterlens.runs.combining import Jobs, current_parts, write_with_parts
from filterlens.runs.distinct import distinct_of_run
from filterlens.runs.events import Event
from filterlens.runs.executors import Executor, InProcess, WorkerLost
from filterlens.runs.failures import Failures, Fault
from filterlens.runs.folder import check_folder, lock_folder, read_json, stamp, write_json
from filterlens.runs.ledger import Ledger, LedgerRow
from filterlens.runs.parts import left_out_of_pool, part_paths
from filterlens.runs.pooling import pool
from filterlens.runs.scoring import Scored, ScoreJob, Summaries, score_dump
from filterlens.runs.summaries import read_summaries, write_summaries
from filterlens.score import as_table, read_scores, write_scores
from filterlens.version import __version__

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["analyze"]


def analyze(
    folder: Path,
    *,
    reuse: bool = False,
    pooled: bool = True,
    executor: Executor | None = None,
    listener: Callable[[Event], None] = lambda _: None,
    keep_tracebacks: bool = False,
    settings: RunSettings | None = None,
) -> pd.DataFrame:
    """Turn a run's dumps into `scores.parquet` and `pooled.h5`. Needs no model where dumps hold the weights.

    Parameters
    ----------
    folder
        A run's folder.
    reuse
        Keep the scores of dumps that have not changed since the last analysis.
    pooled
        Compute what lenses say over all models together, too.
    executor
        Where dumps are scored; this process by default. Numbers do not depend on it.
    listener
        Called with every `Event`.
    keep_tracebacks
        Store the traceback of a dump that cannot be read in the ledger.
    settings
        How checkpoints are read again whose weights are in no dump (`--dumps none`): what is said over all models
        together needs them. None: they are not, and nothing is said.

    Returns
    -------
        The tidy score table (see `filterlens.score`).

    Raises
    ------
    CatalogError, DumpError
        The folder is no run's folder, or nothing could be extracted.
    MissingExtraError
        Something is left to be computed, and what does it is not installed.
    WriteError
        The disk is full or the folder cannot be written.
    """
    check_folder(folder)
    if not (folder / "catalog.csv").is_file():
        raise CatalogError(f"{folder} is not a run's folder: it has no catalog.csv; run `filterlens extract` first")
    catalog = read_catalog(folder / "catalog.csv")
    with lock_folder(folder):
        failures = Failures(Ledger(folder / "ledger.jsonl"), listener)
        parts = current_parts(folder, catalog, failures.known)
        dumps = _expected(catalog, folder, failures.known, parts)
        if not parts and not any(path.is_file() for _, path in dumps):
            ledger = folder / "ledger.jsonl"
            raise DumpError(f"{folder} holds no dumps: nothing was extracted (see {ledger} for why)")
        jobs = [
            ScoreJob(
                entry,
                path,
                known=tuple(failures.lenses(entry.model_id)),
                written=tuple(failures.lenses(entry.model_id, "ok")),
                keep_tracebacks=keep_tracebacks,
            )
            for entry, path in dumps
        ]
        how = _How(reuse=reuse, pooled=pooled, settings=settings)
        return _analyze(jobs, parts, folder, failures, executor or InProcess(), listener, how=how)


@dataclass(frozen=True, slots=True)
class _How:
    """Options of an analysis, as `analyze` has them."""

    reuse: bool
    pooled: bool
    settings: RunSettings | None


def _analyze(  # noqa: PLR0917 - one caller
    jobs: list[ScoreJob],
    parts: Mapping[int, Jobs],
    folder: Path,
    failures: Failures,
    executor: Executor,
    listener: Callable[[Event], None],
    *,
    how: _How,
) -> pd.DataFrame:
    seen_path, table_path = folder / "analysis.json", folder / "scores.parquet"
    stamps = {job.entry.model_id: f"{__version__} {stamp(job.path)}" for job in jobs}
    stamps |= {_part_name(number): stamp(part_paths(folder, number)[0]) for number in parts}
    old = _old_scores(table_path, listener) if how.reuse else None
    seen = read_json(seen_path) if old is not None else {}
    if old is not None and seen == stamps and _is_sound(folder / "pooled.h5", listener):
        return old
    require_audit()
    reading = executor.for_analysis(folder)
    if reading.local and not executor.local:
        failures.say(f"the cluster's nodes do not see {folder}: its dumps are analysed on this machine")
    lenses = _lenses(jobs)
    modules = ["pandas", *(module for lens in lenses for module in lens.preload)]
    with reading.keep_workers(modules) if jobs else nullcontext():
        import pandas as pd  # this and what pools: while the process that workers are forked from starts

        for lens in lenses:
            if lens.pool and how.pooled:
                resolve_name(lens.pool)
        found: dict[str, Scored] = {}
        if old is not None:
            same = {model_id: stamp for model_id, stamp in seen.items() if stamps.get(model_id) == stamp}
            found = _kept(old, same, read_summaries(folder / "summaries.h5", same), pooled=how.pooled)
        found |= _score(jobs, found, reading, failures, listener)
        for model_id in set(stamps):
            if failures.has(model_id):
                del stamps[model_id]
        good = [job for job in jobs if found[job.entry.model_id].table is not None]
        if not good and not parts:
            raise DumpError(f"no dump under {folder / 'dumps'} can be scored: {failures.first}")
        scores = pd.concat([found[job.entry.model_id].table for job in good] or [as_table([])], ignore_index=True)
        if how.pooled:
            digests = {model_id: row.weights_sha256 for (model_id, _), row in failures.known.items()}
            paths = {job.entry.model_id: job.path for job in good}
            summaries: dict[str, Summaries] = {model_id: found[model_id].summaries for model_id in paths}
            distinct = distinct_of_run([job.entry for job in good], digests, scores).entries
            dumps = [(entry, paths[entry.model_id]) for entry in distinct]
            unread = pool(
                dumps,
                summaries,
                folder,
                reading,
                failures,
                settings=how.settings,
                elsewhere=executor.for_analysis(None),
            )
            for model_id in set(stamps):
                if failures.has(model_id) or model_id in unread:
                    del stamps[model_id]
            write_summaries(folder / "summaries.h5", summaries, stamps)
    scores = _write(scores, folder, parts, failures)
    write_json(seen_path, stamps)
    listener(Event("", "", len(jobs), len(jobs)))
    return scores


def _lenses(jobs: Sequence[ScoreJob]) -> list[Lens]:
    """Lenses of the first dump that can be read: most often all dumps hold the same."""
    for job in jobs:
        with suppress(DumpError), DumpReader(job.path) as dump:
            return [lens for name, lens in all_lenses().items() if name in dump.lenses]
    return []


def _part_name(number: int) -> str:
    """Return a name for a part that no model has: names of models are printable."""
    return f"part\t{number}"


def _write(scores: pd.DataFrame, folder: Path, parts: Mapping[int, Jobs], failures: Failures) -> pd.DataFrame:
    """Write the score table, that of models in parts too, and return it."""
    path = folder / "scores.parquet"
    if not parts:
        write_scores(scores, path)
        return scores
    done = {job for current in parts.values() for job in current}
    again = [job in done for job in zip(scores["model_id"], scores["lens"], strict=True)]
    for said in write_with_parts(scores[~np.array(again, bool)], folder, parts, path):
        failures.say(said)
    for lens in all_lenses().values():
        n = len({model_id for model_id, own in done if own == lens.name})
        if lens.pool and n:
            failures.say(f"{lens.name}: {left_out_of_pool(n)}")
    return read_scores(path)


def _kept(
    old: pd.DataFrame, same: Mapping[str, str], summaries: Mapping[str, Summaries], *, pooled: bool
) -> dict[str, Scored]:
    """Return what an earlier analysis found of the dumps that are the same, and still whole."""
    pooling = {name for name, lens in all_lenses().items() if lens.pool and pooled}
    found = {}
    for model_id, table in old[old["model_id"].isin(list(same))].groupby("model_id", sort=False):
        own = summaries.get(str(model_id), {})
        if pooling & set(table["lens"]) <= set(own):
            found[str(model_id)] = Scored(table, dict(own))
    return found


def _score(
    jobs: list[ScoreJob],
    kept: Mapping[str, Scored],
    executor: Executor,
    failures: Failures,
    listener: Callable[[Event], None],
) -> dict[str, Scored]:
    """Score the dumps of which nothing is kept."""
    missing = [job for job in jobs if job.entry.model_id not in kept]
    found: dict[str, Scored] = {}

    def report_progress(job: ScoreJob, what: str, *_: int) -> None:
        # one line for all models, which ends with the analysis
        listener(Event("", f"{what} {job.entry.model_id}", len(kept) + len(found), len(jobs)))

    for job, result in executor.run(missing, score_dump, report_progress):
        model_id = job.entry.model_id
        scored = _lost(job, result.reason) if isinstance(result, WorkerLost) else result
        found[model_id] = scored
        for lens in scored.sound:
            failures.heal(model_id, lens)
        for fault in scored.faults:
            failures.add(model_id, fault)
    return found


def _lost(job: ScoreJob, reason: str) -> Scored:
    return Scored(faults=[Fault.of(job.known, DumpError(reason))])


def _expected(
    catalog: Catalog, folder: Path, known: Mapping[tuple[str, str], LedgerRow], parts: Mapping[int, Jobs]
) -> list[tuple[Entry, Path]]:
    """List the dumps that are there, and those that the ledger says were written."""
    elsewhere = {job for current in parts.values() for job in current}
    written = {job[0] for job, row in known.items() if row.status == "ok" and job not in elsewhere}
    dumps = [(entry, folder / "dumps" / f"{entry.file_stem}.h5") for entry in catalog]
    return [(entry, path) for entry, path in dumps if path.is_file() or entry.model_id in written]


def _old_scores(path: Path, listener: Callable[[Event], None]) -> pd.DataFrame | None:
    """Scores of the last analysis, or None where there are none that can be read."""
    if not path.is_file():
        return None
    try:
        return read_scores(path)
    except ReportError:
        listener(Event("", "", 0, 0, note=f"{path} is damaged: made anew from the dumps"))
        return None


def _is_sound(path: Path, listener: Callable[[Event], None]) -> bool:
    try:
        with DumpReader(path) as reader:
            return bool(reader.attributes)
    except DumpError:
        listener(Event("", "", 0, 0, note=f"{path} is missing or damaged: made anew from the dumps"))
        return False
