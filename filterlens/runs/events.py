"""Messages of a run: its progress, its failures and its end."""

from __future__ import annotations

import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filterlens.errors import FilterlensError
from filterlens.fetching import Transfer
from filterlens.runs.ledger import LedgerRow
from filterlens.version import __version__

__all__ = ["Event", "Outcome", "failed", "versions"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a progress display wants to know.

    `what` is empty when the job has ended; `rows` then say how. Without a model and `what` it counts models: `done` of
    `total` are done before the first job. `note` is a line for people. `transfer` is there where a file is fetched.
    """

    model_id: str
    what: str
    done: int
    total: int
    rows: tuple[LedgerRow, ...] = ()
    note: str = ""
    transfer: Transfer | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an extraction ended: the latest ledger row of every job asked for.

    `page` is there once there is a report; `missed` is what the analysis could not score; `unstarted` models were left
    to the next run because the time was up.
    """

    folder: Path
    rows: tuple[LedgerRow, ...]
    reused: int
    seconds: float
    page: Path | None = None
    missed: tuple[LedgerRow, ...] = ()
    unstarted: int = 0

    def __repr__(self) -> str:
        """Say it in one line: there is a row a job."""
        counted = ", ".join(f"{n} {status}" for status in ("ok", "skipped", "failed") if (n := self.count(status)))
        report = f"; report: {self.page}" if self.page else ""
        return f"Outcome({str(self.folder)!r}: {len({row.model_id for row in self.rows})} models, {counted}{report})"

    def count(self, status: str) -> int:
        """How many jobs ended so."""
        return sum(row.status == status for row in self.rows)


def failed(row: LedgerRow, error: Exception, *, keep_traceback: bool) -> LedgerRow:
    """Return a job's row with what went wrong."""
    reason = str(error) if isinstance(error, FilterlensError) else f"{type(error).__name__}: {error}"
    return replace(
        row,
        status="failed",
        reason=reason,
        error_class=type(error).__name__,
        traceback="".join(traceback.format_exception(error)) if keep_traceback else "",
    )


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions that may change a number, of what is installed."""
    found = {"filterlens": __version__}
    for name in ("torch", "torchvision", "timm", "robustbench", "numpy", "scipy"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
