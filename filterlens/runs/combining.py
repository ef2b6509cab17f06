"""`scores.parquet` from the tables of dumps and the parts of models that lie many to a file, a part at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filterlens.catalogs import Catalog
from filterlens.errors import ReportError
from filterlens.process.files import atomic_write
from filterlens.runs.parts import list_parts, read_part_keys, read_part_scores
from filterlens.runs.rows import LedgerRow
from filterlens.score import SCORES_FILE, arrow_schema

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Jobs", "current_parts", "write_with_parts"]

Jobs = frozenset[tuple[str, str]]
"""Models and lenses, as pairs of names."""


def current_parts(folder: Path, catalog: Catalog, known: Mapping[tuple[str, str], LedgerRow]) -> dict[int, Jobs]:
    """Return the numbers of a run's parts and what of each counts: models and lenses that no later job has done again.

    Parameters
    ----------
    folder
        The run's.
    catalog
        Its models: parts are in the order of their first ones.
    known
        The latest rows of the ledger.
    """
    places = {entry.model_id: place for place, entry in enumerate(catalog)}
    found: list[tuple[int, int, Jobs]] = []
    for number in list_parts(folder):
        try:
            rows = read_part_keys(folder, number)
        except ReportError:
            continue  # its models have no row
        current = frozenset(
            (model_id, lens)
            for model_id, lens, status, key, started in rows
            if status == "ok" and model_id in places and _is_latest(known.get((model_id, lens)), key, started)
        )
        if current:
            found.append((min(places[model_id] for model_id, _ in current), number, current))
    return {number: current for _, number, current in sorted(found, key=lambda part: part[:2])}


def _is_latest(row: LedgerRow | None, key: str, started: str) -> bool:
    return row is not None and (row.status, row.key, row.started) == ("ok", key, started)


def write_with_parts(table: pd.DataFrame, folder: Path, parts: Mapping[int, Jobs], path: Path) -> Sequence[str]:
    """Write the score table of a run, whole or not at all; no more than one part is in memory.

    Parameters
    ----------
    table
        Rows of models with a dump.
    folder
        The run's.
    parts
        As `current_parts` returns them.
    path
        Of the table.

    Returns
    -------
        What is wrong with parts that cannot be read, and are left out.

    Raises
    ------
    WriteError
        The disk is full or the folder cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema, damaged = arrow_schema(), []
    with atomic_write(path) as temporary, parquet.ParquetWriter(temporary, schema) as out:
        out.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))
        for number, current in parts.items():
            try:
                out.write_table(_rows_of(read_part_scores(folder, number), current).cast(schema))
            except (ReportError, pa.ArrowInvalid, KeyError) as error:
                damaged.append(str(error))
    SCORES_FILE.trust(path)
    return damaged


def _rows_of(scores: pa.Table, current: Jobs) -> pa.Table:
    """Keep the rows of some models and lenses."""
    pairs = list(zip(scores["model_id"].to_pylist(), scores["lens"].to_pylist(), strict=True))
    keep = [pair in current for pair in pairs]
    return scores if all(keep) else scores.filter(keep)
