"""The ledger of a run: one JSON line a job, appended and never changed, and the rows of models that lie in parts.

A line that a power cut tore is passed over by every reader; the latest line of a job is the one that counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from filterlens.errors import ReportError, WriteError
from filterlens.process.files import explain_failure
from filterlens.runs.parts import read_part_rows
from filterlens.runs.rows import LedgerRow, Status, as_line, read_line

__all__ = ["Ledger", "LedgerRow", "Status", "as_line", "read_line"]

_MAX_LINE: Final = 4 << 20


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
        """Return the latest row of every (model_id, lens), those of the run's parts too."""
        rows: dict[tuple[str, str], LedgerRow] = {}
        for line in self._lines() if self.path.is_file() else ():
            if (row := read_line(line)) is not None:
                rows[row.model_id, row.lens] = row
        for row in read_part_rows(self.path.parent):
            known = rows.get((row.model_id, row.lens))
            if known is None or known.started <= row.started:
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
