"""What lenses say over all models together, without the models that cannot take part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name

from filterlens.catalogs import Entry
from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import DumpError, LensSkipped, WriteError
from filterlens.lens import Lens, all_lenses
from filterlens.process.files import cannot_write
from filterlens.runs.failures import Failures

__all__ = ["pool"]

Dumps = Sequence[tuple[Entry, Path]]


def pool(dumps: Dumps, folder: Path, failures: Failures) -> None:
    """Let every lens that has one compute what it says over all models together, into `pooled.h5`.

    Parameters
    ----------
    dumps
        Catalog entry and dump of each model.
    folder
        The run's folder.
    failures
        Told of models that cannot take part; they are left out.

    Raises
    ------
    DumpError, WriteError
        The file cannot be written.
    """
    with DumpWriter(folder / "pooled.h5", {"model_id": folder.name, "source": "pooled"}, keep=False) as out:
        for lens in all_lenses().values():
            taking = [found for found in dumps if _holds(found, lens, failures)] if lens.pool else []
            if taking:
                _pool_lens(lens, taking, out, failures)


def _holds(dump: tuple[Entry, Path], lens: Lens, failures: Failures) -> bool:
    entry, path = dump
    try:
        with DumpReader(path) as reader:
            return lens.name in reader.lenses and lens.name not in failures.failed_lenses(entry.model_id)
    except DumpError as error:
        failures.add(entry.model_id, [lens.name], error)
        return False


def _pool_lens(lens: Lens, dumps: Dumps, out: DumpWriter, failures: Failures) -> None:
    failures.step(f"{lens.name}: all models together")
    error = _attempt(lens, dumps, out)
    if error is None:
        return
    alone = [(found, _attempt(lens, [found], out)) for found in dumps]
    out.discard(lens.name)
    for (entry, _), own in alone:
        if own is not None:
            failures.add(entry.model_id, [lens.name], own)
    rest = [found for found, own in alone if own is None]
    error = _attempt(lens, rest, out) if 0 < len(rest) < len(dumps) else error
    if error is not None:
        failures.say(f"{lens.name}: all models together have no result: {type(error).__name__}: {error}")


def _attempt(lens: Lens, dumps: Dumps, out: DumpWriter) -> Exception | None:
    """Pool some dumps; return what went wrong, the lens's group then being empty."""
    function: Callable[..., None] = resolve_name(lens.pool)
    try:
        function(dumps, out.lens(lens.name, {"models": len(dumps)}))
    except LensSkipped:
        out.discard(lens.name)
    except Exception as error:
        out.discard(lens.name)
        if isinstance(error, WriteError) or (error.__cause__ and cannot_write(error.__cause__)):
            raise
        return error
    return None
