"""Draw the figures of a report: in this process, or each as a job of several processes."""

from __future__ import annotations

import io
import pickle
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from filterlens.errors import FilterlensError, WriteError
from filterlens.report.data import RunData, read_run
from filterlens.report.figure import Drawing, Figure, FinishedFigure
from filterlens.report.formats import frame_to_csv
from filterlens.report.hover import grid_of, points_of
from filterlens.report.inline import inline_image
from filterlens.report.style import paper_style
from filterlens.runs.executors.protocol import Progress, WorkerLost

if TYPE_CHECKING:
    from filterlens.runs.executors import Executor

__all__ = ["Drawn", "draw", "draw_all"]

_MOST_LEFT_OUT = 20  # models: a figure that fails on more of them is itself at fault
_MOST_SCORES = 2_000_000  # rows, beyond which a run is held by one process only


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What became of a figure.

    Parameters
    ----------
    number
        Its place among the figures.
    finished
        As the page shows it; None where there is nothing to draw, or it failed.
    files
        What is written, by suffix.
    without
        Models that were left out because their dumps could not be read, and why.
    said
        Why it failed; empty where it did not.
    """

    number: int
    finished: FinishedFigure | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)
    said: str = ""


@dataclass(frozen=True, slots=True)
class _Task:
    """A figure to draw, and of which run."""

    number: int
    figure: Figure
    folder: Path
    first_stage_pair: str
    style: str
    report: int  # which report of this folder, as a later one is of other scores


def draw(figure: Figure, run: RunData) -> tuple[Drawing, bytes, bytes] | None:
    """Draw one figure in the run's style; return it with its PDF and PNG, or None where there is nothing to draw."""
    with paper_style(run.style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)  # names in any script
        drawing = figure.draw(run)
        if drawing is None:
            return None
        pdf, png = io.BytesIO(), io.BytesIO()
        drawing.figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Title": figure.title})
        drawing.figure.set_layout_engine("none")  # it is laid out: once is enough
        drawing.figure.savefig(png, format="png", metadata={"Title": figure.title})
    return drawing, pdf.getvalue(), png.getvalue()


def draw_all(run: RunData, figures: Sequence[Figure], executor: Executor | None) -> Iterator[Drawn]:
    """Draw figures and yield what became of each, in any order.

    Parameters
    ----------
    run
        A finished audit.
    figures
        In order.
    executor
        Of this machine, whose processes read the run themselves; None draws here. Figures that cannot be sent to
        another process are drawn here too, and those of a run too large to be held by several.
    """
    here = list(enumerate(figures))
    if executor is not None and len(run.scores) <= _MOST_SCORES:
        of_run = (run.folder, run.first_stage_pair, run.style, time.monotonic_ns())
        tasks = [_Task(number, figure, *of_run) for number, figure in here]
        sent = [task for task in tasks if _can_be_sent(task)]
        for task, found in executor.run(sent, _draw_task, lambda *_: None):
            yield Drawn(task.number, said=found.reason) if isinstance(found, WorkerLost) else found
        numbers = {task.number for task in sent}
        here = [(number, figure) for number, figure in here if number not in numbers]
    for number, figure in here:
        yield _draw_what_can_be(number, figure, run)


def _can_be_sent(task: _Task) -> bool:
    try:
        pickle.dumps(task)
    except Exception:  # noqa: BLE001 - a third party's figure may raise what it likes
        return False
    return True


def _draw_task(task: _Task, _: Progress) -> Drawn:
    return _draw_what_can_be(
        task.number, task.figure, _read(task.folder, task.first_stage_pair, task.style, task.report)
    )


@lru_cache(maxsize=1)
def _read(folder: Path, first_stage_pair: str, style: str, _report: int) -> RunData:
    """Read a run once a process and report: the folder is locked while that is written."""
    return replace(read_run(folder), first_stage_pair=first_stage_pair, style=style)


def _draw_what_can_be(number: int, figure: Figure, run: RunData) -> Drawn:
    """Draw a figure without the models whose dumps it fails on; say which, and why there is none."""
    without: dict[str, str] = {}
    while True:
        run.opened.clear()
        try:
            drawn = draw(figure, run)
            return Drawn(number, without=without) if drawn is None else _finish(number, figure, without, drawn)
        except WriteError:
            raise
        except Exception as error:  # noqa: BLE001 - one figure, perhaps a third party's, never stops the report
            said = str(error) if isinstance(error, FilterlensError) else f"{type(error).__name__}: {error}"
            if not run.opened or len(run.catalog) == 1 or len(without) == _MOST_LEFT_OUT:
                return Drawn(number, without=without, said=said)
            without[run.opened[-1]] = said
            run = run.without(run.opened[-1])


def _finish(number: int, figure: Figure, without: dict[str, str], drawn: tuple[Drawing, bytes, bytes]) -> Drawn:
    drawing, pdf, png = drawn
    grid = None if drawing.matrix is None else grid_of(drawing.figure, drawing.matrix)
    points = points_of(drawing.figure, drawing.data)
    finished = FinishedFigure(figure, drawing.caption, inline_image(png), points, grid)
    csv = frame_to_csv(drawing.data).encode("utf-8", "replace")
    return Drawn(number, finished, {"pdf": pdf, "png": png, "csv": csv}, without)
