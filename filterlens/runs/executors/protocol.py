"""What an executor is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

__all__ = ["Executor", "Listener", "Progress", "Work", "WorkerLost", "is_ready"]

Job = TypeVar("Job")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)` while a job runs."""
Work = Callable[[Job, Progress], Result]
"""What is done with every job: a function that worker processes can import by its name."""
Listener = Callable[[Any, str, int, int], None]
"""Called in the driver as `listener(job, what, done, total)`."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The result of a job whose worker died, also when it was tried again."""

    reason: str


def is_ready(jobs: Sequence[Any], number: int) -> bool:
    """Whether a job can be had at once: jobs may be a sequence that prepares each, say by a download."""
    ready: Callable[[int], bool] | None = getattr(jobs, "is_ready", None)
    return ready is None or ready(number)


class Executor(Protocol):
    """Runs jobs somewhere.

    Attributes
    ----------
    local
        Whether jobs run on this machine and see its devices.
    """

    local: bool

    def for_analysis(self, folder: Path | None) -> Executor:
        """Return where dumps are analysed.

        Parameters
        ----------
        folder
            The run's, locked, whose files the jobs read; None where they read none.
        """
        ...

    def keep_workers(self, preload: Sequence[str] = ()) -> AbstractContextManager[None]:
        """Keep workers from one call of `run` to the next inside the block, where the executor has any of its own.

        Parameters
        ----------
        preload
            Modules that jobs will need. Processes of this machine have them imported once, for all of them, and begin
            with it at once: whoever enters the block goes on to run jobs in it.
        """
        ...

    def run(
        self, jobs: Sequence[Job], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        """Yield every job with its result as soon as it is there."""
        ...
