"""What lenses say over all models together, without the models that cannot take part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import TypeVar

from filterlens.catalogs import Entry
from filterlens.dumps import DumpWriter
from filterlens.errors import DumpError, LensSkipped, WriteError
from filterlens.lens import Each, Lens, PoolContext, PooledModel, RunSettings, all_lenses
from filterlens.process.files import cannot_write
from filterlens.runs.executors import Executor, WorkerLost
from filterlens.runs.failures import Failures, Fault
from filterlens.runs.scoring import Summaries, Task, run_task
from filterlens.runs.undumped import Reread, open_group

__all__ = ["pool"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def pool(
    dumps: Sequence[tuple[Entry, Path]],
    summaries: Mapping[str, Summaries],
    folder: Path,
    executor: Executor,
    failures: Failures,
    *,
    settings: RunSettings | None,
    elsewhere: Executor,
) -> set[str]:
    """Let every lens that has one compute what it says over all models together, into `pooled.h5`.

    Parameters
    ----------
    dumps
        Catalog entry and dump of each model.
    summaries
        What lenses kept of the models, by model; a model without one of a lens takes no part in it.
    folder
        The run's folder.
    executor
        Where each model's part is computed.
    failures
        Told of models that cannot take part; they are left out.
    settings
        How checkpoints are read again where no dump holds the weights; None: they are not.
    elsewhere
        Where they are read again: nothing of the run's folder is needed.

    Returns
    -------
        Models that cannot be pooled because their checkpoints are not to be read again.

    Raises
    ------
    DumpError, WriteError
        The file cannot be written.
    """
    unread: set[str] = set()
    with DumpWriter(folder / "pooled.h5", {"model_id": folder.name, "source": "pooled"}, keep=False) as out:
        for lens in all_lenses().values():
            taking = [
                PooledModel(
                    entry=entry,
                    group=open_group(entry, path, lens.name, settings or RunSettings(offline=True)),
                    summary=summaries[entry.model_id][lens.name],
                )
                for entry, path in dumps
                if lens.pool and lens.name in summaries.get(entry.model_id, {})
            ]
            again = {model.entry.model_id for model in taking if isinstance(model.group, Reread)}
            if again and settings is None:
                failures.say(
                    f"{lens.name}: nothing is said of all models together, as the weights of {len(again)} are not "
                    f"stored (--dumps none): run the same `filterlens audit`, or `filterlens analyze {folder} --reread`"
                )
                unread |= again
            elif taking:
                where = elsewhere if len(again) == len(taking) else executor
                _pool_lens(lens, taking, out, _each(where), failures)
    return unread


def _each(executor: Executor) -> Each:
    def each(function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        tasks = [Task(number, function, item) for number, item in enumerate(items)]
        early: dict[int, Result] = {}
        number = 0
        for task, result in executor.run(tasks, run_task, lambda *_: None):
            if isinstance(result, WorkerLost):
                raise DumpError(result.reason)
            early[task.number] = result
            while number in early:
                yield early.pop(number)
                number += 1

    return each


def _pool_lens(lens: Lens, models: Sequence[PooledModel], out: DumpWriter, each: Each, failures: Failures) -> None:
    failures.step(f"{lens.name}: all models together")
    error = _attempt(lens, models, out, each)
    if error is None:
        return
    alone = [(model, _attempt(lens, [model], out, map)) for model in models]
    out.discard(lens.name)
    for model, own in alone:
        if own is not None:
            failures.add(model.entry.model_id, Fault.of([lens.name], own))
    rest = [model for model, own in alone if own is None]
    error = _attempt(lens, rest, out, each) if 0 < len(rest) < len(models) else error
    if error is not None:
        failures.say(f"{lens.name}: all models together have no result: {type(error).__name__}: {error}")


def _attempt(lens: Lens, models: Sequence[PooledModel], out: DumpWriter, each: Each) -> Exception | None:
    """Pool some models; return what went wrong, the lens's group then being empty."""
    function: Callable[[PoolContext], None] = resolve_name(lens.pool)
    try:
        function(PoolContext(models=models, group=out.lens(lens.name, {"models": len(models)}), each=each))
    except LensSkipped:
        out.discard(lens.name)
    except Exception as error:
        out.discard(lens.name)
        if isinstance(error, WriteError) or (error.__cause__ and cannot_write(error.__cause__)):
            raise
        return error
    return None
