"""A row of a run's ledger, and how it is written as a line of JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, get_args

from filterlens.process.printable import printable_json

__all__ = ["LedgerRow", "Status", "as_line", "checked_row", "read_line"]

Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What became of one lens on one model.

    Parameters
    ----------
    model_id, lens
        The job.
    status
        `ok`, `failed` or `skipped` (the lens does not apply).
    reason
        For people; empty when ok.
    error_class
        Class of what went wrong.
    seconds
        Wall-clock time of this lens, without loading the model.
    key
        What decides the numbers (see `filterlens.runs.keys`). Another key means that the job is to be done again.
    sha256
        SHA-256 of the checkpoint.
    weights_sha256, faults
        Digest of the weights themselves, and their dead, constant and non-finite layers (`filterlens.loaders.examine`);
        empty where nobody looked.
    files
        The files that the model was read from, each as `SHA-256 SIZE PLACE`: its place in the cache, or its name.
    notes
        What the loader wants a reader to know (names in pickles that were not rebuilt, folded BatchNorm, …).
    started, host, versions
        When, where and with what it ran.
    traceback
        Kept on request only.
    """

    model_id: str
    lens: str
    status: Status
    reason: str = ""
    error_class: str = ""
    seconds: float = 0.0
    key: str = ""
    sha256: str = ""
    weights_sha256: str = ""
    faults: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    started: str = ""
    host: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    traceback: str = ""


_FIELDS: Final = frozenset(LedgerRow.__dataclass_fields__)


def as_line(row: LedgerRow) -> str:
    """Write a row as the ledger has it, without the line's end."""
    return printable_json(json.dumps(asdict(row), ensure_ascii=False))


def read_line(line: bytes | str) -> LedgerRow | None:
    """Read what `as_line` has written; None for anything else."""
    try:
        return checked_row(json.loads(line))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def checked_row(found: dict[str, Any]) -> LedgerRow:
    """Return a row of values that were read, such as a line's.

    Raises
    ------
    ValueError, TypeError, AttributeError
        They are not as a ledger has them.
    """
    if not all(isinstance(found.get(name, []), list) for name in ("notes", "faults", "files")):
        raise TypeError("notes, faults and files are lists")
    row = LedgerRow(**{name: value for name, value in found.items() if name in _FIELDS})
    texts: tuple[str, ...] = (
        row.model_id,
        row.lens,
        row.status,
        row.reason,
        row.error_class,
        row.key,
        row.sha256,
        row.started,
    )
    texts += (row.weights_sha256, row.host, row.traceback, *row.faults, *row.files, *row.notes, *row.versions.values())
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("text is expected")
    if row.status not in get_args(Status) or not math.isfinite(row.seconds):
        raise ValueError("no such status, or no time")
    return replace(
        row,
        notes=tuple(row.notes),
        faults=tuple(row.faults),
        files=tuple(row.files),
        seconds=float(row.seconds),
    )
