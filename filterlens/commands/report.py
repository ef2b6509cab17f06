"""`report`: tables, figures and a page of a run's scores, and what of them other commands print."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from filterlens.commands.memory import reaching
from filterlens.lens import all_lenses, all_scores

if TYPE_CHECKING:
    import pandas as pd

    from filterlens.report.figure import Figure
    from filterlens.report.tables import TableMaker

__all__ = ["Progress", "all_figures", "all_tables", "cautions", "report", "robust_vs_normal"]

Progress = Callable[[int, int], None]
_DRAWING = ("filterlens.report.drawing", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf")


def report(
    folder: str | Path,
    *,
    first_stage_pair: str = "",
    style: str = "",
    jobs: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Turn a run's scores into tables, figures and a page; return the page's path.

    Parameters
    ----------
    folder
        A run's folder, analysed.
    first_stage_pair
        The robust model whose first stage under attack is drawn, beside its normal one's; empty: the first pair.
    style
        Preset of the figures: `neurips`, `cvpr`, `icml`, `slides` or `plain`; empty: that of `run.toml`.
    jobs
        Processes that draw figures.
    progress
        Called as `progress(done, total)`.

    Raises
    ------
    ReportError
        The folder holds no analysed run.
    InputError
        `first_stage_pair` is no robust model of the run with a matched normal one, or there is no such style.

    Examples
    --------
    >>> import filterlens
    >>> page = filterlens.report("reports/mine")  # doctest: +SKIP
    """
    from filterlens.runs.executors import LocalProcesses

    executor = reaching(LocalProcesses(jobs)) if jobs > 1 else None
    with executor.keep_workers(_DRAWING) if executor else nullcontext():
        from filterlens.report import write_report  # while the process that workers are forked from starts

        return write_report(
            Path(folder),
            figures=all_figures(),
            tables=all_tables(),
            first_stage_pair=first_stage_pair,
            style=style,
            executor=executor,
            progress=progress,
        )


def all_figures() -> list[Figure]:
    """Return the figures of every lens, those of installed packages included, its scores by depth and by epoch."""
    from filterlens.report.depth import depth_figure
    from filterlens.report.trajectory import trajectory_figure

    lenses = all_lenses()
    deep = dict.fromkeys(score.lens for score in all_scores().values() if score.by_depth)
    own: list[Figure] = [figure for lens in lenses.values() if lens.figures for figure in resolve_name(lens.figures)]
    return [*map(depth_figure, deep), *own, *map(trajectory_figure, lenses)]


def all_tables() -> list[TableMaker]:
    """Return the tables of every lens, those of installed packages included."""
    return [make for lens in all_lenses().values() if lens.tables for make in resolve_name(lens.tables)]


def cautions(folder: str | Path) -> list[str]:
    """Return what to know before acting on a report's numbers: its `tables/cautions.csv`, empty where there is none."""
    import pandas as pd

    path = Path(folder) / "tables" / "cautions.csv"
    return [str(text) for text in pd.read_csv(path)["caution"]] if path.is_file() else []


def robust_vs_normal(folder: str | Path) -> pd.DataFrame:
    """Compare robust models with their matched normal ones, one row a score, ready to print."""
    from filterlens.report import read_run
    from filterlens.report import robust_vs_normal as compare

    return compare(read_run(Path(folder)))
