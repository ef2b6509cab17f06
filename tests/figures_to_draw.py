"""Figures that worker processes draw: they import them by name, which they cannot do with a test's own."""

from __future__ import annotations

import os
import signal
import threading

import pandas as pd

from filterlens.report.data import RunData
from filterlens.report.figure import Drawing


def draw_process(run: RunData) -> Drawing:
    """Draw a line, and say in which process."""
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [0, 1])
    return Drawing(figure, pd.DataFrame({"process": [os.getpid()]}), "A line.")


def draw_models(run: RunData) -> Drawing:
    """Draw a line, and say of how many models the run is."""
    drawing = draw_process(run)
    return Drawing(drawing.figure, pd.DataFrame({"models": [len(run.catalog)]}), drawing.caption)


def draw_here(run: RunData, lock: threading.Lock) -> Drawing:
    """Draw with what can't be sent to another process."""
    with lock:
        return draw_process(run)


def draw_broken(run: RunData) -> Drawing:
    raise ZeroDivisionError("nothing to divide by")


def draw_killed(run: RunData) -> Drawing:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")
