"""From a run's dumps to its scores."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from filterlens import __version__
from filterlens.catalogs import Catalog, Entry, read_catalog
from filterlens.dumps import DumpReader, DumpWriter
from filterlens.dumps.memory import give_back
from filterlens.errors import CatalogError, DumpError, LensSkipped
from filterlens.lens import all_lenses, get_lens
from filterlens.runs.events import Event, failed, versions
from filterlens.runs.folder import lock_folder, read_json, stamp, write_json
from filterlens.runs.ledger import Ledger, LedgerRow
from filterlens.score import as_table, read_scores, write_scores

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["analyze"]


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
        The tidy score table (see `filterlens.score`).

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
            row = failed(blank, error, keep_traceback=keep_tracebacks)
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
                found = resolve_name(get_lens(name).analyze)(reader.lens(name))
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
                    resolve_name(lens.pool)(holding, out.lens(lens.name, {"models": len(holding)}))
                except LensSkipped:
                    out.discard(lens.name)
