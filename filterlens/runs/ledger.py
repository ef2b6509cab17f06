"""The ledger of a run: one JSON line a job, appended and never changed.

A line that a power cut tore is passed over by every reader; the latest line of a job is the one that counts.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from filterlens.errors import ReportError, WriteError
from filterlens.process.files import explain_failure
from filterlens.process.printable import printable_json

__all__ = ["Ledger", "LedgerRow", "Status", "as_line", "read_line"]

Status = Literal["ok", "failed", "skipped"]
_MAX_LINE: Final = 4 << 20


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


class Ledger:
    """Read and append the ledger of one run.

    Parameters
    ----------
    path
        `ledger.jsonl` in the run's folder; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def latest(self) -> dict[tuple[str, str], LedgerRow]:
        """Return the latest row of every (model_id, lens)."""
        rows: dict[tuple[str, str], LedgerRow] = {}
        if not self.path.is_file():
            return rows
        for line in self._lines():
            if (row := read_line(line)) is not None:
                rows[row.model_id, row.lens] = row
        return rows

    def _lines(self) -> Iterator[bytes]:
        """Lines of at most `_MAX_LINE` bytes; longer ones are no rows, and are never in memory whole."""
        try:
            with self.path.open("rb") as file:
                whole = True
                while line := file.readline(_MAX_LINE):
                    ends = line.endswith(b"\n") or len(line) < _MAX_LINE
                    if whole and ends:
                        yield line
                    whole = ends
        except OSError as error:
            raise ReportError(f"{self.path} cannot be read ({error.strerror})") from error

    def append(self, rows: list[LedgerRow]) -> None:
        """Add rows at the end and bring them to the disk.

        Raises
        ------
        WriteError
            The ledger cannot be written.
        """
        text = "".join(as_line(row) + "\n" for row in rows)
        try:
            with self.path.open("ab+") as file:
                if file.seek(0, os.SEEK_END) and self._ends_within_a_line():
                    text = "\n" + text
                file.write(text.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError(explain_failure(self.path, error)) from error

    def _ends_within_a_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"


def as_line(row: LedgerRow) -> str:
    """Write a row as the ledger has it, without the line's end."""
    return printable_json(json.dumps(asdict(row), ensure_ascii=False))


def read_line(line: bytes | str) -> LedgerRow | None:
    """Read what `as_line` has written; None for anything else."""
    try:
        return _row(json.loads(line))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _row(found: dict[str, Any]) -> LedgerRow:
    """Check a line's types: what is not as `append` writes it is no row."""
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
