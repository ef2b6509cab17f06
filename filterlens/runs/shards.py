"""Many small models of one file: extracted and scored in one task, layers of equal shape in one batch; no dumps."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final

from filterlens.catalogs import Catalog
from filterlens.dumps import InMemoryGroup
from filterlens.errors import LensSkipped
from filterlens.fetching import check_locked, place_of
from filterlens.lens import ExtractContext, Lens, get_lens
from filterlens.loaders import split_member
from filterlens.process.digests import recorded_digests
from filterlens.runs.events import failed, versions
from filterlens.runs.executors import Progress
from filterlens.runs.jobs import Job, blank_rows
from filterlens.runs.kept import made_by
from filterlens.runs.parts import pack_scores
from filterlens.runs.rows import LedgerRow
from filterlens.runs.scoring import one_thread
from filterlens.score import as_table

if TYPE_CHECKING:
    from filterlens.loaders.shards import Shard

__all__ = ["FEWEST", "ShardResult", "ShardTask", "in_shards", "lost_shard", "needed_modules", "run_shard"]

FEWEST: Final = 100
"""Models that lie many to a file: fewer are extracted one by one, with a dump each."""
_MOST: Final = 1000  # models of one task: what a run that is killed does again
_BATCH: Final = 32 << 20  # bytes of weights that are scored together


_NEEDED: Final = (
    "pandas", "pyarrow.parquet", "filterlens.loaders.examine", "filterlens.loaders.file", "filterlens.loaders.shards",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Models of one file; small and picklable.

    Parameters
    ----------
    path
        The file, as the catalog names it.
    jobs
        Its models with their lenses.
    number
        Of the part that they become.
    """

    path: str
    jobs: tuple[Job, ...]
    number: int = 0

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"{Path(self.path).name} ({len(self.jobs)} models)"


@dataclass(frozen=True, slots=True, eq=False)
class ShardResult:
    """What became of a task: a ledger row for each lens of each model, and the part's file of scores."""

    rows: list[LedgerRow]
    scores: bytes


@dataclass(slots=True, eq=False)
class _Member:
    """One model while its task runs: its rows, and what its lenses have extracted and not yet scored."""

    job: Job
    rows: dict[str, LedgerRow]
    groups: dict[str, InMemoryGroup] = field(default_factory=dict)
    size: int = 0


def in_shards(jobs: Sequence[Job], catalog: Catalog) -> tuple[list[ShardTask], list[Job]]:
    """Split jobs into tasks of whole files and those that are done one by one.

    A task has the models of one file, with the lenses that look at weights only; at most a thousand of them.

    Parameters
    ----------
    jobs
        Of a run.
    catalog
        All its models, of which some may be done.

    Returns
    -------
    tasks
        None where fewer than `FEWEST` models of the catalog lie many to a file.
    rest
        Jobs of all other models and lenses.
    """
    members = (entry for entry in catalog if split_member(entry.source) is not None)
    if len(list(islice(members, FEWEST))) < FEWEST:
        return [], list(jobs)
    files: dict[str, list[Job]] = {}
    rest = []
    for job in jobs:
        member = split_member(job.entry.source)
        weights = [name for name in job.options if not get_lens(name).needs_images]
        if member is None or not weights:
            rest.append(job)
            continue
        files.setdefault(member[0], []).append(job.only(weights))
        if others := job.options.keys() - set(weights):
            rest.append(job.only(others))
    starts = [(path, own, start) for path, own in files.items() for start in range(0, len(own), _MOST)]
    return [ShardTask(path, tuple(own[start : start + _MOST])) for path, own, start in starts], rest


def needed_modules(tasks: Iterable[ShardTask]) -> list[str]:
    """Modules that `run_shard` needs for some tasks: workers that share them take less memory."""
    names = dict.fromkeys(name for task in tasks for job in task.jobs for name in job.options)
    lenses = [lens for lens in map(get_lens, names) if lens.preload]
    return [*_NEEDED, *(module for lens in lenses for module in (lens.extract.partition(":")[0], *lens.preload))]


def run_shard(task: ShardTask, progress: Progress) -> ShardResult | None:
    """Extract and score the models of one file; never raises for a model's own faults.

    Returns
    -------
        None where there is too little time left for a task as long as the longest of this process.
    """
    if time.time() + _Longest.seconds > task.jobs[0].deadline:
        return None
    begun = time.monotonic()
    try:
        with warnings.catch_warnings(), one_thread():
            return _run_shard(task, progress)
    finally:
        _Longest.seconds = max(_Longest.seconds, time.monotonic() - begun)


class _Longest:
    """How long the longest task of this process took."""

    seconds = 0.0


def _run_shard(task: ShardTask, progress: Progress) -> ShardResult:
    members: list[_Member] = []
    waiting: list[_Member] = []
    found: list[dict[str, object]] = []
    for member in _extracted(task):
        progress(f"scoring {Path(task.path).name}", len(members), len(task.jobs))
        members.append(member)
        waiting.append(member)
        if sum(own.size for own in waiting) > _BATCH:
            found += _scored(waiting)
            waiting = []
    found += _scored(waiting)
    lenses = {name: options for job in task.jobs for name, options in job.options.items()}
    keys = task.jobs[0].keys
    facts = {
        "made_by": {name: made_by(get_lens(name)) for name in lenses},
        "parameters": {
            name: get_lens(name).parameters(options, task.jobs[0].settings)
            | {"content": keys[name].content if name in keys else {}, "versions": versions()}
            for name, options in lenses.items()
        },
    }
    rows = [row for member in members for row in member.rows.values()]
    return ShardResult(rows, pack_scores(as_table(found), facts))


def _extracted(task: ShardTask) -> Iterator[_Member]:
    """Let the lenses look at one model after the other."""
    from filterlens.loaders.digest import locate
    from filterlens.loaders.shards import open_shard
    from filterlens.loaders.weights import file_digest

    fault: Exception | None = None
    shard: Shard | None = None
    with recorded_digests() as read:
        try:
            path = locate(task.path, task.jobs[0].folder)
            file_digest(path)
            shard = open_shard(path)
        except Exception as error:  # noqa: BLE001 - a damaged file costs its own models only
            fault = error
    files = tuple(f"{digest} {size} {place_of(path)}" for path, (size, digest) in read.items())
    for job in task.jobs:
        member = _Member(job, blank_rows(job))
        try:
            if job.error is not None:
                raise job.error
            if shard is None or fault is not None:
                raise fault or FileNotFoundError(task.path)
            for where, locked in job.locked.items():
                check_locked(locked, read, where)
            _extract(member, shard, files)
        except Exception as error:  # noqa: BLE001 - and a damaged model itself
            _fail(member, job.options, error)
        yield member


def _extract(member: _Member, shard: Shard, files: tuple[str, ...]) -> None:
    from filterlens.loaders.examine import examine_weights
    from filterlens.loaders.file import load_member

    job = member.job
    _, name = split_member(job.entry.source) or ("", "")
    model = load_member(shard, name, job.entry)
    examined = examine_weights(model.weights)
    facts: dict[str, Any] = {"sha256": model.sha256, "files": files}
    facts |= {"weights_sha256": examined.digest, "faults": examined.faults}
    member.size = sum(tensor.nbytes for tensor in model.weights.values())
    for lens, options in job.options.items():
        begun = time.monotonic()
        group = InMemoryGroup(shard.path, get_lens(lens).parameters(options, job.settings))
        row = replace(member.rows[lens], **facts, notes=(*model.notes, *job.keys[lens].notes))
        try:
            resolve_name(get_lens(lens).extract)(
                ExtractContext(
                    model=model,
                    entry=job.entry,
                    images=None,
                    options=options,
                    settings=job.settings,
                    group=group,
                    progress=lambda *_: None,
                )
            )
            member.groups[lens] = group
        except LensSkipped as reason:
            row = replace(row, status="skipped", reason=str(reason))
        except Exception as error:  # noqa: BLE001 - one lens's failure leaves the others their results
            row = failed(row, error, keep_traceback=job.keep_tracebacks)
        member.rows[lens] = replace(row, seconds=time.monotonic() - begun)


def _scored(members: Sequence[_Member]) -> list[dict[str, object]]:
    """Score what was extracted of some models, lens by lens; rows of the score table."""
    found: list[dict[str, object]] = []
    for name in dict.fromkeys(name for member in members for name in member.groups):
        taking = [member for member in members if name in member.groups]
        begun = time.monotonic()
        groups = [member.groups.pop(name) for member in taking]
        results = _analyzed(get_lens(name), groups)
        share = (time.monotonic() - begun) / len(taking)
        for member, group, rows in zip(taking, groups, results, strict=True):
            row = member.rows[name]
            member.rows[name] = replace(row, seconds=round(row.seconds + share, 6))
            if isinstance(rows, Exception):
                _fail(member, [name], rows, f"scoring: layer {group.current}: ")
            else:
                facts: dict[str, object] = {"model_id": member.job.entry.model_id, "lens": name}
                found += [facts | row for row in rows]
    return found


def _analyzed(lens: Lens, groups: Sequence[InMemoryGroup]) -> list[list[dict[str, object]] | Exception]:
    """Score models in one batch, or one by one where that is all a lens can do or one of them is at fault."""
    if lens.analyze_together:
        try:
            together: list[list[dict[str, object]] | Exception] = resolve_name(lens.analyze_together)(groups)
            return together
        except Exception:  # noqa: BLE001, S110 - one by one shows whose it is
            pass
    return [_alone(lens, group) for group in groups]


def _alone(lens: Lens, group: InMemoryGroup) -> list[dict[str, object]] | Exception:
    try:
        analyzed = resolve_name(lens.analyze)(group)
    except Exception as error:  # noqa: BLE001 - one model never stops the others
        return error
    rows: list[dict[str, object]] = analyzed[0] if lens.pool else analyzed
    return rows


def _fail(member: _Member, lenses: Iterable[str], error: Exception, step: str = "") -> None:
    for name in lenses:
        row = failed(member.rows[name], error, keep_traceback=member.job.keep_tracebacks)
        member.rows[name] = replace(row, reason=f"{step}{row.reason}")


def lost_shard(task: ShardTask, reason: str) -> list[LedgerRow]:
    """Rows of a task whose worker died."""
    return [
        replace(row, status="failed", reason=reason, error_class="WorkerLost")
        for job in task.jobs
        for row in blank_rows(job).values()
    ]
