"""`estimate`: what an audit would do: models, jobs, downloads, disk and time, before it does any of it."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from filterlens.catalogs import Catalog, load_catalog
from filterlens.commands.audit import choose_lenses
from filterlens.lens import Options, RunSettings
from filterlens.process.extras import require_audit
from filterlens.runs.config import RunConfig

if TYPE_CHECKING:
    from filterlens.runs import Job
    from filterlens.runs.ledger import LedgerRow

__all__ = ["Estimate", "estimate", "estimate_run"]

_STARTING: Final = 10.0  # seconds: what takes less is measured again, without Python's own start


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an audit would do.

    Parameters
    ----------
    folder
        The run's.
    models, done
        How many there are, and how many of them the folder holds already.
    jobs
        Models x lenses that are still to be done.
    files, download, unknown
        To be fetched: how many files, how many bytes of those whose size is known, how many of unknown size.
    cache_free
        Bytes that the cache's disk has free.
    dumps, folder_free
        Bytes that the dumps would take (NaN where nothing could be measured), and that the folder's disk has free.
    seconds
        Wall-clock time of the extraction; NaN where nothing could be measured.
    by_lens
        Seconds a model, by lens.
    measured
        The model that was measured, or how many models of an earlier run.
    why_not
        Why there is no estimate of time.
    """

    folder: Path
    models: int
    done: int
    jobs: int
    files: int
    download: int
    unknown: int
    cache_free: int
    dumps: float
    folder_free: int
    seconds: float
    by_lens: Mapping[str, float] = field(default_factory=dict)
    measured: str = ""
    why_not: str = ""


def estimate(
    leaderboard: str | Path | Catalog,
    folder: str | Path | None = None,
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    models: Sequence[str] = (),
    fast: bool = False,
    settings: RunSettings | None = None,
    jobs: int = 1,
    measure: bool = True,
    **options: object,
) -> Estimate:
    """Say what an audit would do, without doing it: models, jobs, downloads, disk and time.

    Parameters
    ----------
    leaderboard, folder, lenses, models, fast, settings, jobs, options
        As for `filterlens.extract`.
    measure
        Run the first model that needs no download, in a temporary folder, for an estimate of time and disk, where the
        folder holds no model that was measured under the same settings.

    Raises
    ------
    FilterlensError
        As `filterlens.extract`, before a model runs.

    Examples
    --------
    >>> import filterlens
    >>> found = filterlens.estimate("fonts-linf", "reports/none", measure=False)
    >>> found.models, found.jobs, found.files
    (21, 21, 0)
    """
    catalog = leaderboard if isinstance(leaderboard, Catalog) else load_catalog(leaderboard)
    catalog = catalog.select(models) if models else catalog
    chosen = choose_lenses(lenses, options, fast=fast)
    config = RunConfig(lenses=chosen, settings=settings or RunSettings())
    return estimate_run(catalog, None if folder is None else Path(folder), config, jobs=jobs, measure=measure)


def estimate_run(
    catalog: Catalog,
    folder: Path | None,
    config: RunConfig,
    *,
    jobs: int = 1,
    measure: bool = True,
    extend: bool = False,
    replace: bool = False,
) -> Estimate:
    """Estimate a run of which the configuration is known; see `estimate`."""
    from filterlens.fetching import check_disk, needs_of, sizes_of
    from filterlens.runs import check_device, remaining

    folder = Path("reports") / catalog.name if folder is None else folder
    check_device(config.settings.device)
    found = remaining(catalog, folder, config, "extend" if extend else "replace" if replace else "refuse")
    if found.jobs:
        require_audit()
    offline = config.settings.offline
    needs = [needs_of(job.entry, job.folder, offline=offline) for job in found.jobs]
    missing = {file.name: file for own in needs for file in own.missing}
    sizes: dict[str, int | None] = {} if offline else sizes_of(missing.values())
    here = [job for job, own in zip(found.jobs, needs, strict=True) if not own.missing and own.error is None]
    cost = _known_cost(found.jobs, found.kept, folder) or _Cost(why_not="nothing is left to be done")
    if found.jobs and not cost.by_lens:
        cost = _measure(here, config) if measure else _Cost(why_not="it was not asked for")
    per_model = [sum(cost.by_lens.get(lens, math.nan) for lens in job.options) + cost.loading for job in found.jobs]
    at_once = max(1, min(jobs, len(found.jobs)))
    return Estimate(
        folder=folder,
        models=found.models,
        done=found.models - len(found.jobs),
        jobs=sum(len(job.options) for job in found.jobs),
        files=len(missing),
        download=sum(size or 0 for size in sizes.values()),
        unknown=sum(sizes.get(name) is None for name in missing),
        cache_free=check_disk({}),
        dumps=cost.dump * len(found.jobs),
        folder_free=_free(folder),
        seconds=sum(per_model) / at_once if found.jobs else 0.0,
        by_lens=cost.by_lens,
        measured=cost.measured,
        why_not=cost.why_not,
    )


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one model costs: seconds by lens and to load it, and bytes of its dump."""

    by_lens: Mapping[str, float] = field(default_factory=dict)
    loading: float = 0.0
    dump: float = math.nan
    measured: str = ""
    why_not: str = ""


def _known_cost(jobs: Sequence[Job], kept: Sequence[LedgerRow], folder: Path) -> _Cost | None:
    """Read the cost from models that the folder holds under the same settings; None where a lens was never run."""
    seconds: dict[str, list[float]] = {}
    for row in kept:
        if row.status == "ok" and row.seconds:
            seconds.setdefault(row.lens, []).append(row.seconds)
    wanted = {lens for job in jobs for lens in job.options}
    if not wanted or not wanted <= set(seconds):
        return None
    sizes = [path.stat().st_size for path in (folder / "dumps").glob("*.h5")]
    means = {lens: sum(seconds[lens]) / len(seconds[lens]) for lens in wanted}
    models = len({row.model_id for row in kept})
    return _Cost(means, dump=sum(sizes) / max(1, len(sizes)), measured=f"{models} models of this run")


def _measure(here: Sequence[Job], config: RunConfig) -> _Cost:
    """Run the first model whose files are here, in a folder that is removed again."""
    from filterlens.runs import extract

    if not here:
        return _Cost(why_not="no model's files are here; `filterlens fetch` brings them")
    job = here[0]
    one = Catalog("first", (job.entry.model_copy(update={"match": ""}),), job.folder)
    lenses = {name: config.lenses[name] for name in job.options}
    whole = 0.0
    for _ in range(2):
        with TemporaryDirectory(prefix="filterlens-") as place:
            begun = time.monotonic()
            outcome = extract(one, Path(place), lenses=lenses, settings=config.settings)
            whole = time.monotonic() - begun
            dump = sum(path.stat().st_size for path in (Path(place) / "dumps").glob("*.h5"))
        if whole > _STARTING:
            break
    failed = [row for row in outcome.rows if row.status == "failed"]
    if failed:
        return _Cost(why_not=f"{failed[0].model_id} · {failed[0].lens} failed: {failed[0].reason}")
    by_lens = {row.lens: row.seconds for row in outcome.rows}
    return _Cost(by_lens, max(0.0, whole - sum(by_lens.values())), dump, job.entry.model_id)


def _free(folder: Path) -> int:
    place = folder.absolute()
    while not place.is_dir():
        place = place.parent
    return shutil.disk_usage(place).free
