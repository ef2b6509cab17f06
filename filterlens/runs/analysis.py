"""From a run's dumps to its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from filterlens.catalogs import Catalog, Entry, read_catalog
from filterlens.dumps import DumpReader
from filterlens.dumps.memory import return_freed_memory
from filterlens.errors import CatalogError, DumpError, ReportError
from filterlens.lens import all_lenses, get_lens
from filterlens.runs.distinct import distinct_of_run
from filterlens.runs.events import Event
from filterlens.runs.failures import Failures
from filterlens.runs.folder import check_folder, lock_folder, read_json, stamp, write_json
from filterlens.runs.ledger import Ledger, LedgerRow
from filterlens.runs.pooling import pool
from filterlens.score import UNNORMALISED, as_table, read_scores, write_scores
from filterlens.version import __version__

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["analyze"]


def analyze(
    folder: Path,
    *,
    reuse: bool = False,
    pooled: bool = True,
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
    pooled
        Compute what lenses say over all models together, too.
    listener
        Called with every `Event`.
    keep_tracebacks
        Store the traceback of a dump that cannot be read in the ledger.

    Returns
    -------
        The tidy score table (see `filterlens.score`).

    Raises
    ------
    CatalogError, DumpError
        The folder is no run's folder, or nothing could be extracted.
    WriteError
        The disk is full or the folder cannot be written.
    """
    check_folder(folder)
    if not (folder / "catalog.csv").is_file():
        raise CatalogError(f"{folder} is not a run's folder: it has no catalog.csv; run `filterlens extract` first")
    catalog = read_catalog(folder / "catalog.csv")
    with lock_folder(folder):
        failures = Failures(Ledger(folder / "ledger.jsonl"), listener, keep_tracebacks=keep_tracebacks)
        return _analyze(catalog, folder, failures, reuse=reuse, pooled=pooled, listener=listener)


def _analyze(
    catalog: Catalog,
    folder: Path,
    failures: Failures,
    *,
    reuse: bool,
    pooled: bool,
    listener: Callable[[Event], None],
) -> pd.DataFrame:
    import pandas as pd

    dumps = _expected(catalog, folder, failures.known)
    if not any(path.is_file() for _, path in dumps):
        raise DumpError(f"{folder} holds no dumps: nothing was extracted (see {folder / 'ledger.jsonl'} for why)")
    seen_path, table_path = folder / "analysis.json", folder / "scores.parquet"
    stamps = {entry.model_id: f"{__version__} {stamp(path)}" for entry, path in dumps}
    old = _old_scores(table_path, listener) if reuse else None
    seen = read_json(seen_path) if old is not None else {}
    if old is not None and seen == stamps and _is_sound(folder / "pooled.h5", listener):
        return old
    parts: list[pd.DataFrame] = []
    good: list[tuple[Entry, Path]] = []
    for count, (entry, path) in enumerate(dumps):
        listener(Event(entry.model_id, "scoring", count, len(dumps)))
        if old is not None and seen.get(entry.model_id) == stamps[entry.model_id]:
            parts.append(old[old["model_id"] == entry.model_id])
            good.append((entry, path))
            continue
        found = _score_dump(entry, path, failures)
        return_freed_memory()
        if failures.has(entry.model_id):
            del stamps[entry.model_id]
        if found is not None:
            parts.append(found)
            good.append((entry, path))
    if not parts:
        raise DumpError(f"no dump under {folder / 'dumps'} can be scored: {failures.first}")
    scores = pd.concat(parts, ignore_index=True)
    if pooled:
        digests = {model_id: row.weights_sha256 for (model_id, _), row in failures.known.items()}
        paths = {entry.model_id: path for entry, path in good}
        distinct = distinct_of_run([entry for entry, _ in good], digests, scores).entries
        pool([(entry, paths[entry.model_id]) for entry in distinct], folder, failures)
    for model_id in set(stamps):
        if failures.has(model_id):
            del stamps[model_id]
    write_scores(scores, table_path)
    write_json(seen_path, stamps)
    listener(Event("", "", len(dumps), len(dumps)))
    return scores


def _expected(catalog: Catalog, folder: Path, known: Mapping[tuple[str, str], LedgerRow]) -> list[tuple[Entry, Path]]:
    """List the dumps that are there, and those that the ledger says were written."""
    written = {model_id for (model_id, _), row in known.items() if row.status == "ok"}
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


def _cautioned(row: Mapping[str, object], caution: str) -> dict[str, object]:
    """Return a row with a caution added to its note."""
    return {**row, "note": "; ".join(str(part) for part in (row.get("note"), caution) if part)}


def _score_dump(entry: Entry, path: Path, failures: Failures) -> pd.DataFrame | None:
    """Score everything that one dump holds; None where nothing of it has a score."""
    import pandas as pd

    parts = []
    try:
        with DumpReader(path) as reader:
            for name in reader.lenses:
                if name not in all_lenses():
                    continue
                group = reader.lens(name)
                try:
                    found = resolve_name(get_lens(name).analyze)(group)
                    facts = {"model_id": entry.model_id, "lens": name}
                    caution = UNNORMALISED if group.parameters.get("normalisation") == "none" else ""
                    parts.append(as_table([facts | _cautioned(row, caution) for row in found]))
                    failures.heal(entry.model_id, name)
                except Exception as error:  # noqa: BLE001 - one lens of one model never stops the others
                    failures.add(entry.model_id, [name], error, layer=group.current)
            lost = [name for name in failures.lenses(entry.model_id, "ok") if name not in reader.lenses]
            if lost:
                failures.add(entry.model_id, lost, DumpError(f"{path} does not hold it any more; extract again"))
    except DumpError as error:
        failures.add(entry.model_id, failures.lenses(entry.model_id), error)
    return pd.concat(parts, ignore_index=True) if parts else None
