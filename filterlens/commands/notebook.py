"""A finished audit in a notebook: its scores, pairs and figures, for interactive use."""

from __future__ import annotations

from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from filterlens.commands.audit import all_figures
from filterlens.errors import ReportError
from filterlens.report.comparison import comparable_pairs, main_scores, robust_vs_normal
from filterlens.report.data import RunData, read_run
from filterlens.report.style import paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Run"]


class Run:
    """A finished audit.

    Parameters
    ----------
    folder
        A run's folder, such as `reports/fonts-linf`.

    Raises
    ------
    ReportError
        It is no audit's folder, or has not been analysed.

    Examples
    --------
    >>> run = Run("reports/fonts-linf")          # doctest: +SKIP
    >>> run.pairs                                # doctest: +SKIP
    >>> run.figure("filters_depth")              # doctest: +SKIP
    """

    def __init__(self, folder: str | Path) -> None:
        self.data: RunData = read_run(Path(folder))

    @property
    def scores(self) -> pd.DataFrame:
        """The tidy score table: one row a model, metric and layer."""
        return self.data.scores

    @cached_property
    def models(self) -> pd.DataFrame:
        """One row a model: the catalog's facts, then the model's mean of every metric."""
        return self.data.models

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Robust against matched normal, one row a score (see `filterlens.report.comparison`)."""
        return robust_vs_normal(self.data)

    @cached_property
    def figures(self) -> dict[str, str]:
        """Names of the figures, with their titles."""
        return {figure.name: figure.title for figure in all_figures()}

    def figure(self, name: str, *, style: str = "") -> Figure:
        """Draw one figure; a notebook shows it after `%matplotlib inline`.

        Parameters
        ----------
        name
            One of `figures`.
        style
            Preset such as `cvpr`; empty: that of `run.toml`, or `plain`.

        Raises
        ------
        InputError
            There is no such style.
        ReportError
            There is no figure of that name, or the run holds nothing for it.
        """
        found = next((figure for figure in all_figures() if figure.name == name), None)
        if found is None:
            raise ReportError(f"no figure is called {name!r}; there are {', '.join(self.figures)}")
        with paper_style(style or self.data.style):
            drawing = found.draw(self.data)
        if drawing is None:
            raise ReportError(f"the run in {self.data.folder} holds nothing for the figure {name!r}")
        return drawing.figure

    def __repr__(self) -> str:
        pairs = comparable_pairs(self.models, main_scores(self.data))
        return f"Run({str(self.data.folder)!r}: {len(self.models)} models, {len(pairs)} pairs)"

    def _repr_html_(self) -> str:
        table = self.pairs[list(_HEADINGS)].rename(columns=_HEADINGS)
        said = escape(f"{self!r} {self.data.duplicates}".rstrip())
        return f"<p>{said}</p>{table.to_html(index=False, float_format='{:.3g}'.format, escape=True)}"


_HEADINGS = {
    "title": "score",
    "robust_mean": "robust",
    "normal_mean": "normal",
    "difference": "difference",
    "p_adjusted": "adjusted p",
}
