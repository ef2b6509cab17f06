"""What studies share: trainings in processes, and an audit of the networks that came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from filterlens.catalogs import Catalog
from filterlens.errors import ReportError
from filterlens.lens import Options, RunSettings
from filterlens.runs.executors import Executor, InProcess, LocalProcesses, Progress, WorkerLost

__all__ = ["Listener", "StudyTraining", "attack_all", "executor_of", "train_all"]

Listener = Callable[[str, int, int], None]
Result = TypeVar("Result")


class StudyTraining(Protocol):
    """One network of a study; small and picklable."""

    @property
    def model_id(self) -> str:
        """Its name."""


Training = TypeVar("Training", bound=StudyTraining)


def executor_of(jobs: int) -> Executor:
    """Return this process, or so many."""
    return LocalProcesses(jobs) if jobs > 1 else InProcess()


def train_all(
    trainings: Sequence[Training],
    work: Callable[[Training, Progress], Result],
    *,
    executor: Executor,
    listener: Listener,
) -> dict[str, Result]:
    """Return what the training of every network gave, by name.

    Raises
    ------
    ReportError
        A worker died twice: the message names its network.
    """
    found: dict[str, Result] = {}
    listener("training", 0, len(trainings))
    for training, result in executor.run(trainings, work, lambda *_: None):
        if isinstance(result, WorkerLost):
            raise ReportError(f"the training of {training.model_id} was lost ({result.reason}); run the study again")
        found[training.model_id] = result
        listener(f"trained {training.model_id}", len(found), len(trainings))
    return found


def attack_all(
    catalog: Catalog,
    folder: Path,
    *,
    lenses: Mapping[str, Options],
    settings: RunSettings,
    executor: Executor,
    listener: Listener,
) -> None:
    """Look at every network of a catalog, and score it; what is there is kept.

    Raises
    ------
    ReportError
        A network could not be attacked: the message names it.
    """
    from filterlens.runs import analyze, extract

    finished: list[str] = []

    def hear(model_id: str, *, ended: bool) -> None:
        if ended:
            finished.append(model_id)
            listener(f"attacked {model_id}", len(finished), len(catalog))

    outcome = extract(
        catalog, folder, lenses=lenses, settings=settings, executor=executor,
        listener=lambda event: hear(event.model_id, ended=bool(event.rows)),
    )  # fmt: skip
    failed = [row for row in outcome.rows if row.status != "ok"]
    if failed:
        raise ReportError(f"{failed[0].model_id} could not be attacked: {failed[0].reason}; run the study again")
    analyze(folder)
