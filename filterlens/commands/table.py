"""`table`: chosen scores of a run, as a table that fits a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filterlens.report.latex import Width

__all__ = ["table"]


def table(
    folder: str | Path,
    scores: Sequence[str] = (),
    *,
    of: str = "",
    columns: Sequence[str] = (),
    width: Width = "column",
    style: str = "",
) -> str:
    r"""Write chosen scores of a run as a LaTeX table that fits.

    Parameters
    ----------
    folder
        A run's folder, analysed.
    scores
        Such as `["sparsity", "robust_accuracy"]`, in this order; empty: all.
    of
        Which table of the report: `robust_vs_normal` (the default where there are pairs), `models`, `correlation`, …
    columns
        Keys of its columns, as in `tables/columns.csv`; empty: those that say most.
    width
        `column` of a paper with two, or `page`.
    style
        Preset that says how wide these are, such as `cvpr`; empty: that of `run.toml`, or `plain`.

    Returns
    -------
        A booktabs table, whose first line names the packages that it needs.

    Raises
    ------
    ReportError
        The folder holds no analysed run.
    InputError
        There is no such table, score, column or style, or the columns do not fit.

    Examples
    --------
    >>> import filterlens
    >>> tex = filterlens.table("reports/mine", ["sparsity", "orthogonality"], style="cvpr")  # doctest: +SKIP
    """
    from filterlens.commands.report import all_tables
    from filterlens.report import read_run
    from filterlens.report.latex import to_latex
    from filterlens.report.paper import paper_table
    from filterlens.report.style import find_style

    run = read_run(Path(folder))
    where = find_style(style or run.style).name
    chosen = paper_table(run, all_tables(), of=of, scores=scores, columns=columns, width=width)
    return to_latex(chosen, style=where, width=width, whole=True)
