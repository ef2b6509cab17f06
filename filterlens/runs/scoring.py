"""The scores of one dump, in whichever process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from filterlens.catalogs import Entry
from filterlens.dumps import DumpGroup, DumpReader
from filterlens.dumps.memory import return_freed_memory
from filterlens.errors import DumpError
from filterlens.lens import Lens, all_lenses, get_lens
from filterlens.runs.executors import Progress
from filterlens.runs.failures import Fault
from filterlens.runs.kept import kept_scores
from filterlens.score import UNNORMALISED, as_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["ScoreJob", "Scored", "Summaries", "Summary", "Task", "one_thread", "run_task", "score_dump", "score_group"]

Summary = Mapping[str, "NDArray[np.float64]"]
"""What a lens keeps of one model: arrays by name."""
Summaries = Mapping[str, Summary]
"""What lenses keep of one model for what they say over all models together: arrays by lens and name."""


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """A dump that is to be scored; small and picklable.

    Parameters
    ----------
    entry, path
        The model's row, and its dump.
    known, written
        Lenses that the ledger knows of the model, and those that it says were written.
    keep_tracebacks
        Say where in the code an error came from.
    """

    entry: Entry
    path: Path
    known: tuple[str, ...]
    written: tuple[str, ...]
    keep_tracebacks: bool = False


@dataclass(slots=True)
class Scored:
    """What became of a dump.

    Parameters
    ----------
    table
        Its part of the score table; None where nothing of it has a score.
    summaries
        Of the lenses that pool.
    faults
        What went wrong.
    sound
        Lenses that have their scores.
    """

    table: pd.DataFrame | None = None
    summaries: dict[str, Summary] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    sound: list[str] = field(default_factory=list)


def score_dump(job: ScoreJob, progress: Progress) -> Scored:
    """Score everything that one dump holds; never raises for a model's own faults."""
    progress("scoring", 0, 1)
    with one_thread():
        found = _score_dump(job)
    return_freed_memory()
    return found


def _score_dump(job: ScoreJob) -> Scored:
    import pandas as pd

    found, parts = Scored(), []
    try:
        with DumpReader(job.path) as reader:
            for name in reader.held:
                if name not in all_lenses():
                    continue
                where: DumpGroup | None = None
                try:
                    if name in reader.lenses:
                        where = reader.lens(name)
                        table, summary = score_group(get_lens(name), where, job.entry.model_id)
                    else:
                        table, summary = kept_scores(reader, get_lens(name), job.entry.model_id)
                except Exception as error:  # noqa: BLE001 - one lens of one model never stops the others
                    layer = where.current if where else ""
                    found.faults.append(Fault.of([name], error, layer=layer, keep_traceback=job.keep_tracebacks))
                    continue
                parts.append(table)
                found.sound.append(name)
                if summary is not None:
                    found.summaries[name] = summary
            lost = [name for name in job.written if name not in reader.held]
            if lost:
                found.faults.append(Fault.of(lost, DumpError(f"{job.path} does not hold it any more; extract again")))
    except DumpError as error:
        found.faults.append(Fault.of(job.known, error, keep_traceback=job.keep_tracebacks))
    found.table = pd.concat(parts, ignore_index=True) if parts else None
    return found


def score_group(lens: Lens, group: DumpGroup, model_id: str) -> tuple[pd.DataFrame, Summary | None]:
    """Score what one lens has of one model.

    Returns
    -------
    table
        Its part of the score table.
    summary
        Of a lens that pools.
    """
    analyzed = resolve_name(lens.analyze)(group)
    rows, summary = analyzed if lens.pool else (analyzed, None)
    facts = {"model_id": model_id, "lens": lens.name}
    raw = group.parameters.get("normalisation") == "none"
    caution = "; ".join(filter(None, [raw * UNNORMALISED, group.parameters.get("resized", "")]))
    return as_table([facts | _cautioned(row, caution) for row in rows]), summary


def _cautioned(row: Mapping[str, object], caution: str) -> dict[str, object]:
    """Return a row with a caution added to its note."""
    return {**row, "note": "; ".join(str(part) for part in (row.get("note"), caution) if part)}


@dataclass(frozen=True, slots=True)
class Task:
    """One call of a function for one model, of those over all models together."""

    number: int
    function: Callable[[Any], Any]
    item: Any


def run_task(task: Task, _: Progress) -> Any:  # noqa: ANN401 - as the function returns
    """Call it."""
    with one_thread():
        return task.function(task.item)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: its threads would wait for each other at thousands of small operations.

    Sums are the same in every process then, too, however many there are.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
