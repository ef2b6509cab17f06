"""Progress of downloads: bars on a terminal, a line now and then elsewhere; always on standard error."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn, TransferSpeedColumn

from filterlens.cli.terminal import describe_task, make_error_console
from filterlens.process.printable import printable

if TYPE_CHECKING:
    from filterlens.fetching import Transfer

__all__ = ["Downloads"]

_EVERY: Final = 10.0


class Downloads:
    """Shows `Transfer`s, each file and all together; use as a context manager.

    Parameters
    ----------
    every
        Seconds between two lines where there is no terminal.
    write
        Takes such a line; the default writes to standard error.
    """

    def __init__(self, *, every: float = _EVERY, write: Callable[[str], None] | None = None) -> None:
        self._console = make_error_console()
        self._write = write or _to_stderr
        self._every = every
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        self._sizes: dict[str, int | None] = {}
        self._done: dict[str, int] = {}
        self._first: dict[str, tuple[float, int]] = {}
        self._told = self._begun = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def plan(self, sizes: Mapping[str, int | None], free: int) -> None:
        """Say how much is to be fetched."""
        from filterlens.fetching import gigabytes

        self._sizes = dict(sizes)
        self._told = self._begun = time.monotonic()
        if not sizes:
            return
        known = sum(size or 0 for size in sizes.values())
        unknown = sum(size is None for size in sizes.values())
        more = f" and {unknown} of unknown size" if unknown else ""
        room = f"; {gigabytes(free)} are free" if free else ""
        self._write(f"to fetch: {len(sizes)} files, {gigabytes(known)}{more}{room}")
        if free and self._console.is_terminal:
            self._progress = Progress(
                describe_task(),
                BarColumn(bar_width=None),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
            self._all = self._progress.add_task(f"all {len(sizes)}", total=None if unknown else known)

    def hear(self, transfer: Transfer) -> None:
        """Show one step; may be called from any thread."""
        with self._lock:
            now = time.monotonic()
            if transfer.state == "coming":
                self._first.setdefault(transfer.name, (now, transfer.done))
                self._done[transfer.name] = transfer.done
                if transfer.total is not None:
                    self._sizes[transfer.name] = transfer.total
            elif transfer.state in {"fetched", "cached"}:
                self._done[transfer.name] = self._sizes.get(transfer.name) or self._done.get(transfer.name, 0)
            self._log(transfer)
            if self._progress is not None:
                self._draw(transfer)
            elif transfer.state == "coming" and now - self._told >= self._every:
                self._told = now
                self._write(self._line(transfer, now))
            elif transfer.state in {"fetched", "failed"}:
                why = f": {transfer.reason}" if transfer.reason else ""
                self._write(f"{transfer.state} {transfer.model_id}{why}")

    def _draw(self, transfer: Transfer) -> None:
        """Move the bars."""
        progress = self._progress
        if progress is None:
            return
        task = self._tasks.get(transfer.name)
        if transfer.state in {"begun", "coming"}:
            if task is None:
                task = self._tasks[transfer.name] = progress.add_task(f"{transfer.model_id:.40}", total=None)
            progress.update(task, completed=transfer.done, total=transfer.total)
        elif task is not None:
            progress.remove_task(task)
            del self._tasks[transfer.name]
        if transfer.state == "failed":
            self._console.print(f"failed {transfer.model_id}: {transfer.reason}", markup=False, soft_wrap=True)
        if self._all is not None:
            total = None if None in self._sizes.values() else sum(size or 0 for size in self._sizes.values())
            progress.update(self._all, completed=sum(self._done.values()), total=total)

    def _line(self, transfer: Transfer, now: float) -> str:
        """Write how far one file and all are, how fast, and how long it will take."""
        from filterlens.fetching import gigabytes

        since, first = self._first[transfer.name]
        own = _pace(transfer.done - first, now - since, transfer.total and transfer.total - transfer.done)
        of = f" of {gigabytes(transfer.total)}" if transfer.total else ""
        done = sum(self._done.values())
        total = sum(size or 0 for size in self._sizes.values())
        everything = ""
        if len(self._sizes) > 1:
            came = done - sum(first for _, first in self._first.values())
            pace = _pace(came, now - self._begun, total - done)
            everything = f"; all {len(self._sizes)}: {gigabytes(done)} of {gigabytes(total)}{pace}"
        return f"fetching {transfer.model_id}: {gigabytes(transfer.done)}{of}{own}{everything}"

    @staticmethod
    def _log(transfer: Transfer) -> None:
        """Write ends to the log, if there is one."""
        if transfer.state in {"fetched", "failed"}:
            level = logging.ERROR if transfer.state == "failed" else logging.INFO
            text = f"{transfer.model_id}: {transfer.state} {transfer.name} {transfer.reason}".rstrip()
            logging.getLogger("filterlens").log(level, "%s", printable(text))


def _pace(came: int, seconds: float, left: int | None) -> str:
    """Write a rate, and the time left at that rate."""
    from filterlens.fetching import gigabytes

    if came <= 0 or seconds <= 0:
        return ""
    rate = came / seconds
    text = f", {gigabytes(rate)}/s"
    if left is None or left < 0:
        return text
    minutes, rest = divmod(round(left / rate), 60)
    hours, minutes = divmod(minutes, 60)
    return text + (f", {hours} h {minutes} min left" if hours else f", {minutes} min {rest} s left")


def _to_stderr(line: str) -> None:
    sys.stderr.write(printable(line) + "\n")
    sys.stderr.flush()
