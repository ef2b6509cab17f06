"""The jobs of a run, each handed out when its files are here: while one is extracted, the next ones are fetched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, overload

from filterlens.fetching import Fetcher, Needs, Transfer, check_disk, gigabytes, needs_of, sizes_of
from filterlens.runs.events import Event
from filterlens.runs.jobs import Job

__all__ = ["PreparedJobs", "prepared"]

_AHEAD: Final = 3
_MEGABYTE: Final = 1_000_000


class PreparedJobs(Sequence[Job]):
    """Jobs whose files a `Fetcher` brings; `jobs[n]` waits for them.

    Parameters
    ----------
    jobs
        In the order of the fetcher's models.
    fetcher
        Running.
    """

    def __init__(self, jobs: Sequence[Job], fetcher: Fetcher) -> None:
        self._jobs = list(jobs)
        self._fetcher = fetcher
        self._given: dict[int, Job] = {}
        self._number = {job.entry.model_id: number for number, job in enumerate(jobs)}

    def __len__(self) -> int:
        return len(self._jobs)

    @overload
    def __getitem__(self, number: int) -> Job: ...
    @overload
    def __getitem__(self, number: slice) -> list[Job]: ...
    def __getitem__(self, number: int | slice) -> Job | list[Job]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        if number not in self._given:
            job = self._jobs[number]
            self._given[number] = replace(job, error=self._fetcher.wait(number, until=job.deadline))
        return self._given[number]

    def is_ready(self, number: int) -> bool:
        """Whether the files of a job are here, or are not waited for any more."""
        return self._fetcher.is_ready(number) or time.time() > self._jobs[number].deadline

    def finished(self, job: Job) -> None:
        """Say that a job has ended."""
        self._fetcher.release(self._number[job.entry.model_id])


@contextmanager
def prepared(
    jobs: Sequence[Job], listener: Callable[[Event], None], *, at_once: int, evict: bool
) -> Iterator[PreparedJobs]:
    """Fetch for jobs of this machine ahead of their turn; those that need nothing come first.

    Parameters
    ----------
    jobs
        Of one run.
    listener
        Told how much is to be fetched, and of each file.
    at_once
        How many jobs run together.
    evict
        Remove what was fetched here when the job has ended.

    Raises
    ------
    DownloadError
        The disk has no room for what is to be fetched, and nothing is evicted.
    """
    found = [(Needs(job.entry) if job.settings.offline else needs_of(job.entry, job.folder), job) for job in jobs]
    found.sort(key=lambda pair: bool(pair[0].missing))
    missing = {file.name: file for needs, _ in found for file in needs.missing}
    sizes = sizes_of(missing.values())
    if missing:
        unknown = sum(size is None for size in sizes.values())
        total = sum(size or 0 for size in sizes.values())
        free = check_disk({} if evict else sizes, advice=", or give --evict")
        more = f" and {unknown} of unknown size" if unknown else ""
        note = f"to fetch: {len(missing)} files, {gigabytes(total)}{more}; {gigabytes(free)} are free"
        listener(Event("", "", 0, 0, note=note))

    came: dict[str, int] = {}

    def hear(transfer: Transfer) -> None:
        ended = transfer.state not in {"begun", "coming"}
        total = (transfer.total or 0) // _MEGABYTE
        what = "" if ended else "fetching, MB"
        listener(Event(transfer.model_id, what, transfer.done // _MEGABYTE, total, transfer=transfer))
        came[transfer.name] = sizes.get(transfer.name) or 0 if ended else transfer.done
        if len(missing) > 1:
            done = sum(list(came.values()))
            what = "" if len(came) == len(missing) and ended else "fetching all, MB"
            listener(Event("", what, done // _MEGABYTE, sum(size or 0 for size in sizes.values()) // _MEGABYTE))

    needs = [own for own, _ in found]
    with Fetcher(needs, listener=hear, ahead=at_once + _AHEAD, evict=evict) as fetcher:
        yield PreparedJobs([job for _, job in found], fetcher)
