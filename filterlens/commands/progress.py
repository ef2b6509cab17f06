"""A bar that shows how far an audit is, in a notebook or on a terminal."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from filterlens.process.printable import printable

if TYPE_CHECKING:
    from filterlens.runs import Event

__all__ = ["shown"]

Listener = Callable[["Event"], None]
Progress = Callable[[int, int], None]


@contextmanager
def shown(listener: Listener, progress: Progress | None) -> Iterator[tuple[Listener, Progress]]:
    """Show events and steps of an audit in one bar, and hand them on.

    Parameters
    ----------
    listener, progress
        As `filterlens.audit` takes them.

    Yields
    ------
        What takes their place.
    """
    bar = _bar()
    try:

        def hear(event: Event) -> None:
            _show(bar, event)
            listener(event)

        def step(done: int, total: int) -> None:
            bar.set_description_str(f"report, {done} of {total}")
            if progress is not None:
                progress(done, total)

        yield hear, step
    finally:
        bar.close()


def _bar() -> Any:  # noqa: ANN401 - one of tqdm's bars
    with warnings.catch_warnings():  # where ipywidgets is missing, it says so, and draws the bar in text
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

        return tqdm(unit="model", bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} {unit}s [{elapsed}<{remaining}]")


def _show(bar: Any, event: Event) -> None:  # noqa: ANN401 - one of tqdm's bars
    if event.total and not event.model_id and not event.what:
        bar.reset(total=event.total)
        bar.update(event.done)
    if event.note:
        bar.write(printable(event.note))
    elif event.rows and bar.n < (bar.total or 0):
        bar.update(1)
    elif event.what:
        bar.set_description_str(printable(f"{event.model_id} {event.what}".strip()))
