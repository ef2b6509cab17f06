"""Figures drawn by several processes are those drawn here, and one that fails costs itself only."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from figures_to_draw import draw_broken, draw_here, draw_killed, draw_models, draw_process
from report.synthetic import score_rows, write_dumps, write_pool, write_run, zoo

from filterlens.commands.report import all_figures, all_tables
from filterlens.report import ReportWarning, write_report
from filterlens.report.data import read_run
from filterlens.report.drawing import draw_all
from filterlens.report.figure import Figure
from filterlens.runs.executors import InProcess, LocalProcesses


def files_of(folder: Path) -> dict[str, bytes]:
    """Return everything that a report wrote, without the minute in which it did."""
    written = [*(folder / "figures").iterdir(), *(folder / "tables").iterdir()]
    page = re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", "", (folder / "index.html").read_text(encoding="utf-8"))
    return {path.name: path.read_bytes() for path in written} | {"index.html": page.encode()}


def test_every_figure_comes_out_the_same_from_two_processes(tmp_path: Path) -> None:
    models = zoo(6)
    folder = write_run(tmp_path / "run", models, score_rows(models, 12))
    write_dumps(folder, models, every_lens=True)
    write_pool(folder, models)
    write_report(folder, figures=all_figures(), tables=all_tables())
    here = files_of(folder)
    assert sum(name.endswith(".pdf") for name in here) > 10
    write_report(folder, figures=all_figures(), tables=all_tables(), executor=LocalProcesses(2))
    assert files_of(folder) == here


def test_what_fails_is_named_in_the_order_of_the_figures_and_the_rest_is_there(make_run: Callable[..., Path]) -> None:
    figures = [
        Figure("killed", "filters", "Killed", draw_killed),
        Figure("line", "filters", "A line", draw_process),
        Figure("broken", "filters", "Broken", draw_broken),
        Figure("local", "filters", "Not to be sent", partial(draw_here, lock=threading.Lock())),
    ]
    folder = make_run(8)
    with pytest.warns(ReportWarning) as seen:
        page = write_report(folder, figures=figures, executor=LocalProcesses(2)).read_text(encoding="utf-8")
    said = "\n".join(str(one.message) for one in seen)
    assert "'broken' could not be drawn: ZeroDivisionError" in said
    assert re.search("'killed' could not be drawn: .* died", said)
    assert page.index("Killed") < page.index("nothing to divide by")
    processes = {name: pd.read_csv(folder / "figures" / f"{name}.csv")["process"][0] for name in ("line", "local")}
    assert processes["line"] != processes["local"] == os.getpid()


def test_a_run_of_very_many_scores_is_held_by_one_process(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("filterlens.report.drawing"), "_MOST_SCORES", 10)
    (drawn,) = draw_all(read_run(make_run(8)), [Figure("line", "filters", "A line", draw_process)], LocalProcesses(2))
    assert str(os.getpid()).encode() in drawn.files["csv"]


def test_a_second_report_from_the_same_process_is_of_the_new_scores(make_run: Callable[..., Path]) -> None:
    figure = Figure("line", "filters", "A line", draw_models)
    counts = []
    for models in (8, 5):
        write_report(make_run(models), figures=[figure], executor=InProcess())
        counts.append(int(pd.read_csv(make_run(models) / "figures" / "line.csv")["models"][0]))
    assert counts[0] > counts[1]
