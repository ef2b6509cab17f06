"""One model with the lenses that are to look at it, done in whichever process."""

from __future__ import annotations

import hashlib
import json
import socket
import time
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from pkgutil import resolve_name
from urllib.parse import unquote

from filterlens.catalogs import Entry
from filterlens.dumps import SCHEMA, DumpWriter
from filterlens.dumps.memory import return_freed_memory
from filterlens.errors import FilterlensError, InputError, LensSkipped
from filterlens.inputs.images import Images
from filterlens.lens import ExtractContext, Lens, Options, RunSettings, get_lens
from filterlens.runs.events import failed, versions
from filterlens.runs.executors import Progress
from filterlens.runs.folder import stamp
from filterlens.runs.ledger import LedgerRow

__all__ = ["Job", "images_for", "run_job"]


@dataclass(frozen=True, slots=True)
class Job:
    """One model with the lenses that are to look at it; small and picklable."""

    entry: Entry
    folder: Path
    dump: Path
    options: dict[str, Options]
    settings: RunSettings
    keep_tracebacks: bool = False

    def key(self, lens: Lens) -> str:
        """Digest of what decides the lens's numbers."""
        decides: dict[str, object] = {
            "source": self.entry.source,
            "file": stamp(self.folder / _file_of(self.entry.source)),
            "eps": self.entry.eps,
            "normalisation": [self.entry.mean, self.entry.std],
            "settings": lens.key(self.options[lens.name], self.settings),
            "schema": SCHEMA,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _file_of(source: str) -> str:
    """Path of the file that a source names, if it names one: alone, after `?weights=`, or as `filterdb:PATH#NUMBER`."""
    if source.startswith("filterdb:"):
        return source.removeprefix("filterdb:").rpartition("#")[0]
    _, named, weights = source.partition("?weights=")
    return unquote(weights) if named else source


def run_job(job: Job, progress: Progress) -> list[LedgerRow]:
    """Load one model and let every lens of the job look at it; never raises for a model's own faults."""
    with warnings.catch_warnings():  # Python tells a warning once a place in the code; here, once a model
        return _run_job(job, progress)


def _run_job(job: Job, progress: Progress) -> list[LedgerRow]:
    from filterlens.inputs import check_fits
    from filterlens.loaders import load_model
    from filterlens.loaders.examine import examine_weights

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
        for name in job.options
    }
    return_freed_memory()  # what the model before has left
    progress("loading", 0, 1)
    try:
        model = load_model(
            job.entry,
            job.folder,
            trust_pickle=job.settings.trust_pickle,
            allow_code=job.settings.allow_code,
            offline=job.settings.offline,
        )
        examined = examine_weights(model.weights)
    except Exception as error:  # noqa: BLE001 - the one broad catch: a job of a batch is isolated
        return [failed(row, error, keep_traceback=job.keep_tracebacks) for row in blank.values()]
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
                noted = replace(
                    row,
                    sha256=model.sha256,
                    weights_sha256=examined.digest,
                    faults=examined.faults,
                    notes=model.notes,
                )
                try:
                    options = job.options[name]
                    images = images_for(job.entry, options, job.settings, lens=name)
                    if images is not None:
                        check_fits(images, model.input_size)
                    parameters = lens.key(options, job.settings) | {"versions": versions()}
                    context = ExtractContext(
                        model=model,
                        entry=job.entry,
                        images=images,
                        options=options,
                        settings=job.settings,
                        group=dump.lens(name, parameters),
                        progress=partial(progress, name),
                    )
                    resolve_name(lens.extract)(context)
                except LensSkipped as reason:
                    dump.discard(name)
                    noted = replace(noted, status="skipped", reason=str(reason))
                except Exception as error:  # noqa: BLE001 - one lens's failure leaves the others their results
                    dump.discard(name)
                    noted = failed(noted, error, keep_traceback=job.keep_tracebacks)
                rows.append(replace(noted, seconds=round(time.monotonic() - begun, 3)))
            if not dump.lenses:
                dump.cancel()
    except FilterlensError as error:
        return [failed(row, error, keep_traceback=job.keep_tracebacks) for row in blank.values()]
    return rows


def images_for(entry: Entry, options: Options, settings: RunSettings, *, lens: str) -> Images | None:
    """Return the images that a lens looks at, as many as its options say, or None where it needs none.

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
    return _images(data, entry.dataset, n, settings.seed, settings.fonts)


@lru_cache(maxsize=4)
def _images(data: str, dataset: str, n: int, seed: int, fonts: Path | None) -> Images:
    from filterlens.inputs import load_images

    return load_images(data, n, seed=seed, dataset=dataset, fonts=fonts)
