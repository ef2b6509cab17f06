"""A run's `lock.csv`: which bytes its models were read from, written from the ledger and held against later reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from filterlens.catalogs import Catalog, read_catalog
from filterlens.fetching import RUN_LOCK, Locked, lock_path, read_lock, write_lock
from filterlens.runs.jobs import Job
from filterlens.runs.ledger import LedgerRow

__all__ = ["with_locks", "write_run_lock"]

#: a local file that is another one is a new model: its key says so, and it is extracted again
_LOCAL: Final = ("bundled:", "filterdb:", "file:", "module:")


def with_locks(jobs: Sequence[Job], catalog: Catalog, folder: Path) -> list[Job]:
    """Return jobs with what the catalog's lock says of their files, and the run's of those that were fetched.

    Raises
    ------
    CatalogError
        A lock file is damaged.
    """
    beside, own = lock_path(catalog), folder / RUN_LOCK
    locks = {str(beside): read_lock(beside), str(own): read_lock(own)}
    made = []
    for job in jobs:
        source = job.entry.source
        found = {
            where: rows[source]
            for where, rows in locks.items()
            if source in rows and (where == str(beside) or _is_fetched(source))
        }
        made.append(replace(job, locked=found) if found else job)
    return made


def write_run_lock(folder: Path, known: Mapping[tuple[str, str], LedgerRow]) -> None:
    """Write a run's lock from the latest rows of its ledger; the rows of a model that failed since stay.

    Raises
    ------
    WriteError
        It cannot be written.
    """
    sources = {entry.model_id: entry.source for entry in read_catalog(folder / "catalog.csv")}
    rows = {locked for row in known.values() if row.model_id in sources for locked in _rows(row, sources[row.model_id])}
    fresh = {row.model_id for row in rows}
    earlier = (row for found in read_lock(folder / RUN_LOCK).values() for row in found)
    rows |= {row for row in earlier if row.model_id not in fresh and sources.get(row.model_id) == row.source}
    write_lock(rows, folder / RUN_LOCK)


def _rows(row: LedgerRow, source: str) -> Iterator[Locked]:
    for text in row.files:
        digest, _, rest = text.partition(" ")
        size, _, place = rest.partition(" ")
        if size.isascii() and size.isdecimal():
            yield Locked(row.model_id, source, place, int(size), digest)


def _is_fetched(source: str) -> bool:
    scheme, colon, _ = source.partition(":")
    return bool(colon) and len(scheme) > 1 and not source.startswith(_LOCAL) and "?weights=" not in source
