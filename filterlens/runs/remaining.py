"""What of a run is still to be done: its jobs, less what the folder holds under the same keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from filterlens.catalogs import Catalog
from filterlens.dumps import DumpReader
from filterlens.errors import DumpError, InputError
from filterlens.lens import RunSettings, get_lens
from filterlens.runs.config import RunConfig
from filterlens.runs.earlier import Existing, check_belongs
from filterlens.runs.events import Event
from filterlens.runs.jobs import Job, images_for
from filterlens.runs.kept import held_in_parts, is_fresh
from filterlens.runs.keys import Keys
from filterlens.runs.ledger import Ledger, LedgerRow, read_line
from filterlens.runs.undumped import stores_nothing

__all__ = ["Remaining", "remaining"]

_MOST: Final = 1_000_000  # models of a run, whose jobs are held in memory: 3.5 kB each


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is to be done, and what is done.

    Parameters
    ----------
    models
        How many there are in all.
    jobs
        One a model of which lenses are missing, with those alone.
    kept
        The ledger's rows of what is done.
    unrecorded
        Those of them that only dumps tell: of a run that ended within a model.
    config
        The run's, with the digests of what its settings name.
    """

    models: int
    jobs: tuple[Job, ...]
    kept: tuple[LedgerRow, ...]
    unrecorded: tuple[LedgerRow, ...]
    config: RunConfig


def remaining(
    catalog: Catalog,
    folder: Path,
    config: RunConfig,
    existing: Existing = "refuse",
    *,
    listener: Callable[[Event], None] = lambda _: None,
    keep_tracebacks: bool = False,
) -> Remaining:
    """Tell what of a run is still to be done; writes nothing. Parameters are those of `filterlens.runs.extract`.

    Raises
    ------
    InputError, CatalogError
        There are too many models for one run, the folder holds another run, or the images are wrong.
    """
    if len(catalog) > _MOST:
        raise InputError(
            f"{catalog.name} has {len(catalog)} models, and a run at most {_MOST}: audit some of them with "
            "--models PATTERN, each part with its own --out"
        )
    fresh = existing == "replace"
    known = {} if fresh else Ledger(folder / "ledger.jsonl").latest()
    every = _jobs(catalog, folder, config, keep_tracebacks=keep_tracebacks)
    config = replace(config, content=_content(every))
    if not fresh:
        models = {job.entry.model_id: key.model for job in every for key in job.keys.values()}
        check_belongs(catalog, folder, config, models, known, extend=existing == "extend")
    in_parts = {} if fresh else held_in_parts(folder, lambda note: listener(Event("", "", 0, 0, note=note)))
    held = {} if fresh else {job.entry.model_id: _held(job, in_parts, listener) for job in every}
    unrecorded = [row for job in every for row in _unrecorded(job, held.get(job.entry.model_id, {}), known)]
    known |= {(row.model_id, row.lens): row for row in unrecorded}
    jobs, kept = _to_do(every, known, held, extend=existing == "extend")
    _check_images(jobs, config.settings)
    return Remaining(len(every), tuple(jobs), tuple(kept), tuple(unrecorded), config)


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


def _held(job: Job, in_parts: Mapping[str, Mapping[str, str]], listener: Callable[[Event], None]) -> Mapping[str, str]:
    """Lenses of a job's dump, whole or scored where that is enough, with their rows of the ledger as it holds them.

    A dump that is damaged has none, and is made again. Lenses that lie in a part have no row here.
    """
    found = in_parts.get(job.entry.model_id, {})
    if not job.dump.is_file():
        return found
    try:
        with DumpReader(job.dump) as dump:
            scored = [
                name
                for name in dump.scored
                if name in job.options and stores_nothing(get_lens(name), job.settings) and is_fresh(dump, name)
            ]
            return {**found, **{name: dump.row(name) for name in (*dump.lenses, *scored)}}
    except DumpError:
        listener(Event("", "", 0, 0, note=f"{job.dump} is damaged: extracted again"))
        return found


def _unrecorded(job: Job, held: Mapping[str, str], known: Mapping[tuple[str, str], LedgerRow]) -> list[LedgerRow]:
    """Rows of lenses that were done when the run ended before their model was: the dump has them, the ledger not."""
    found = []
    for name in job.options:
        row = read_line(held[name]) if held.get(name) else None
        before = known.get((job.entry.model_id, name))
        if row is None or (row.model_id, row.lens, row.status) != (job.entry.model_id, name, "ok"):
            continue
        is_newer = before is None or "" < before.started < row.started
        if is_newer and job.keys[name].is_of(row.key, same_settings=True):
            found.append(row)
    return found


def _to_do(
    every: Sequence[Job],
    known: Mapping[tuple[str, str], LedgerRow],
    held: Mapping[str, Mapping[str, str]],
    *,
    extend: bool,
) -> tuple[list[Job], list[LedgerRow]]:
    """Return what is still to be done, and the rows of what is done."""
    jobs: list[Job] = []
    kept: list[LedgerRow] = []
    for job in every:
        own = held.get(job.entry.model_id, {})
        done = [row for name in job.options if (row := _done(known, job, name, own, extend=extend))]
        kept += done
        if missing := set(job.options) - {row.lens for row in done}:
            jobs.append(job.only(missing))
    return jobs, kept


def _done(
    known: Mapping[tuple[str, str], LedgerRow], job: Job, lens: str, held: Collection[str], *, extend: bool
) -> LedgerRow | None:
    row = known.get((job.entry.model_id, lens))
    if row is None or not job.keys[lens].is_of(row.key, same_settings=not extend):
        return None
    return row if row.status == "skipped" or (row.status == "ok" and lens in held) else None


def _check_images(jobs: list[Job], settings: RunSettings) -> None:
    """Meet wrong `--data` before any model runs."""
    if settings.data and jobs:
        for name, options in jobs[0].options.items():
            images_for(jobs[0].entry, options, settings, lens=name, content=jobs[0].keys[name].content)
