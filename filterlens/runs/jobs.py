"""One model with the lenses that are to look at it, done in whichever process."""

from __future__ import annotations

import math
import socket
import time
import warnings
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final

from filterlens.catalogs import Entry
from filterlens.dumps import DumpWriter, InMemoryGroup
from filterlens.dumps.memory import return_freed_memory
from filterlens.errors import FilterlensError, InputError, LensSkipped
from filterlens.fetching import Locked, check_locked, place_of
from filterlens.inputs.images import Images
from filterlens.lens import ExtractContext, Options, RunSettings, get_lens
from filterlens.process.digests import recorded_digests
from filterlens.runs.events import failed, versions
from filterlens.runs.executors import Progress
from filterlens.runs.keys import Key
from filterlens.runs.ledger import LedgerRow, as_line
from filterlens.runs.undumped import store_scores, stores_nothing

if TYPE_CHECKING:
    from filterlens.loaders.model import LoadedModel

__all__ = ["Job", "blank_rows", "images_for", "run_job"]

_COMMIT_AFTER: Final = 10.0  # seconds: then the dump so far is brought to its place, before the next lens


@dataclass(frozen=True, slots=True)
class Job:
    """One model with the lenses that are to look at it, and their keys; small and picklable.

    `error` says why its files could not be fetched; after `deadline` (of `time.time`) it is not begun. `locked` are
    rows of lock files that its files must agree with, by the lock's name.
    """

    entry: Entry
    folder: Path
    dump: Path
    options: dict[str, Options]
    keys: dict[str, Key]
    settings: RunSettings
    keep_tracebacks: bool = False
    error: FilterlensError | None = None
    deadline: float = math.inf
    locked: Mapping[str, tuple[Locked, ...]] = field(default_factory=dict)

    def only(self, lenses: Collection[str]) -> Job:
        """Return the job for some of its lenses."""
        return replace(self, options={name: own for name, own in self.options.items() if name in lenses})


def blank_rows(job: Job) -> dict[str, LedgerRow]:
    """Rows of a job that begins, by lens."""
    common: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "versions": versions(),
    }
    return {name: LedgerRow(job.entry.model_id, name, "ok", key=str(job.keys[name]), **common) for name in job.options}


def run_job(job: Job, progress: Progress) -> list[LedgerRow]:
    """Load one model and let every lens of the job look at it; never raises for a model's own faults.

    Returns
    -------
        A row a lens; none where there is too little time left for a job as long as the longest of this process.
    """
    if time.time() + _Longest.seconds > job.deadline:
        return []
    begun = time.monotonic()
    try:
        with warnings.catch_warnings():  # Python tells a warning once a place in the code; here, once a model
            return _run_job(job, progress)
    finally:
        _Longest.seconds = max(_Longest.seconds, time.monotonic() - begun)


class _Longest:
    """How long the longest job of this process took."""

    seconds = 0.0


def _run_job(job: Job, progress: Progress) -> list[LedgerRow]:
    from filterlens.loaders import load_model
    from filterlens.loaders.examine import examine_weights

    blank = blank_rows(job)
    return_freed_memory()  # what the model before has left
    progress("loading", 0, 1)
    try:
        if job.error is not None:
            raise job.error
        with recorded_digests() as read:
            model = load_model(
                job.entry,
                job.folder,
                trust_pickle=job.settings.trust_pickle,
                allow_code=job.settings.allow_code,
                offline=job.settings.offline,
            )
        for where, rows_of_it in job.locked.items():
            check_locked(rows_of_it, read, where)
        examined = examine_weights(model.weights)
    except Exception as error:  # noqa: BLE001 - the one broad catch: a job of a batch is isolated
        return [failed(row, error, keep_traceback=job.keep_tracebacks) for row in blank.values()]
    attributes = {
        "model_id": job.entry.model_id,
        "source": job.entry.source,
        "sha256": model.sha256,
        "catalog_row": job.entry.model_dump_json(),
        "torch_version": versions()["torch"],
    }
    files = tuple(f"{digest} {size} {place_of(path)}" for path, (size, digest) in read.items())
    facts: dict[str, Any] = {"sha256": model.sha256, "files": files}
    facts |= {"weights_sha256": examined.digest, "faults": examined.faults}
    rows: list[LedgerRow] = []
    waiting = deque(replace(row, **facts, notes=(*model.notes, *job.keys[row.lens].notes)) for row in blank.values())
    while waiting:
        written: list[LedgerRow] = []
        try:
            with DumpWriter(job.dump, attributes) as dump:
                begun = time.monotonic()
                while waiting and (not written or time.monotonic() - begun < _COMMIT_AFTER):
                    written.append(_run_lens(job, waiting.popleft(), model, dump, progress))
                if not dump.lenses:
                    dump.cancel()
        except FilterlensError as error:
            unwritten = [blank[row.lens] for row in (*written, *waiting)]
            return [*rows, *(failed(row, error, keep_traceback=job.keep_tracebacks) for row in unwritten)]
        rows += written
    return rows


def _run_lens(job: Job, row: LedgerRow, model: LoadedModel, dump: DumpWriter, progress: Progress) -> LedgerRow:
    """Let one lens look at a model; its group of the dump holds its row too, for a run that ends before the ledger."""
    from filterlens.runs.fitting import fit_images

    name, begun = row.lens, time.monotonic()
    lens, key, options = get_lens(name), job.keys[name], job.options[name]
    alone = None
    try:
        images = images_for(job.entry, options, job.settings, lens=name, content=key.content)
        parameters = lens.parameters(options, job.settings) | {"content": key.content}
        if images is not None:
            images, resized = fit_images(model, images)
            parameters["normalisation"] = _normalisation(model, images)
            if resized:
                parameters["resized"] = resized
                row = replace(row, notes=(*row.notes, resized))
        parameters["versions"] = versions()
        alone = InMemoryGroup(job.dump, parameters) if stores_nothing(lens, job.settings) else None
        context = ExtractContext(
            model=model,
            entry=job.entry,
            images=images,
            options=options,
            settings=job.settings,
            group=dump.lens(name, parameters) if alone is None else alone,
            progress=partial(progress, name),
        )
        resolve_name(lens.extract)(context)
        if alone is not None:
            store_scores(dump, lens, parameters, group=alone, model=model, folder=job.folder)
    except LensSkipped as reason:
        dump.discard(name)
        row = replace(row, status="skipped", reason=str(reason))
    except Exception as error:  # noqa: BLE001 - one lens's failure leaves the others their results
        dump.discard(name)
        row = failed(row, error, keep_traceback=job.keep_tracebacks)
        if alone is not None and alone.current:
            row = replace(row, reason=f"scoring: layer {alone.current}: {row.reason}")
    row = replace(row, seconds=round(time.monotonic() - begun, 3))
    if row.status == "ok":
        dump.record(name, as_line(row))
    return row


def _normalisation(model: LoadedModel, images: Images) -> str:
    """Tell who normalises images: `given` with the model, `inside` the network, `none`; empty where it is not known."""
    from filterlens.tracing.normalisation import takes_images_as_they_are

    if model.classifier is None:
        return ""
    if model.classifier.is_normalised:
        return "given"
    raw = takes_images_as_they_are(model.classifier.network, images.pixels.shape[1:])
    return {True: "none", False: "inside", None: ""}[raw]


def images_for(
    entry: Entry, options: Options, settings: RunSettings, *, lens: str, content: Mapping[str, str]
) -> Images | None:
    """Return the images that a lens looks at, as many as its options say, or None where it needs none.

    They are read again where their digest in `content` is another.

    Raises
    ------
    InputError
        No data are named, or they cannot be read.
    """
    if not isinstance(n := getattr(options, "images", None), int):
        return None
    data = settings.data or entry.dataset
    if not data:
        raise InputError(f"the {lens} lens needs images: name them with --data")
    return _images(content.get("data", ""), data, entry.dataset, n, settings.seed, settings.fonts)


@lru_cache(maxsize=4)
def _images(_content: str, data: str, dataset: str, n: int, seed: int, fonts: Path | None) -> Images:
    from filterlens.inputs import load_images

    return load_images(data, n, seed=seed, dataset=dataset, fonts=fonts)
