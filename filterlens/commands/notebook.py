"""A finished audit in a notebook: its scores, pairs and figures, for interactive use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import pandas as pd

from filterlens.commands.report import all_figures
from filterlens.errors import InputError, MissingExtraError, ReportError
from filterlens.report.comparison import comparable_pairs, main_scores, robust_vs_normal
from filterlens.report.data import RunData, read_run
from filterlens.report.style import paper_style

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from matplotlib.figure import Figure

__all__ = ["Run"]

Frame = Literal["scores", "models", "pairs"]


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

    def to_arrow(self, of: Frame = "scores") -> pa.Table:
        """Return a table for Arrow, and for all that reads it without a copy, such as DuckDB.

        Parameters
        ----------
        of
            `scores`, `models` or `pairs`, as above; models have their id as the first column.

        Returns
        -------
            What is not known, and a score that is not defined, is null.
        """
        import pyarrow as pa

        frame = {"scores": self.scores, "models": self.models.reset_index(), "pairs": self.pairs}.get(of)
        if frame is None:
            raise InputError(f"a run has no table {of!r}: there are {', '.join(get_args(Frame))}")
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()

    def to_polars(self, of: Frame = "scores") -> pl.DataFrame:
        """Return a table for Polars; see `to_arrow`.

        Raises
        ------
        MissingExtraError
            Polars is not installed.
        """
        try:
            import polars as pl
        except ImportError as error:
            raise MissingExtraError('Polars is not installed: pip install "filterlens[polars]"') from error
        frame = pl.from_arrow(self.to_arrow(of))
        return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()

    def page(self, height: int = 700) -> Page:
        """Show the report in the notebook.

        Parameters
        ----------
        height
            In pixels.

        Raises
        ------
        ReportError
            There is no report.
        """
        path = self.data.folder / "index.html"
        if not path.is_file():
            raise ReportError(f"{self.data.folder} has no report: run `filterlens report {self.data.folder}` first")
        return Page(path, height)

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
        table = self.pairs
        table = table[list(_HEADINGS)].rename(columns=_HEADINGS) if len(table) else self._means()
        said = escape(f"{self!r} {self.data.duplicates}".rstrip())
        return f"<p>{said}</p>{table.to_html(index=False, float_format='{:.3g}'.format, escape=True)}"

    def _means(self) -> pd.DataFrame:
        """One row a score, one column each of the first models."""
        shown = {score.name: score.title for score in main_scores(self.data) if score.name in self.models}
        means = self.models[list(shown)].head(_MODELS).transpose()
        means = means.astype(float).set_axis(list(shown.values()))
        return means.rename_axis(index="score", columns=None).reset_index()


@dataclass(frozen=True, slots=True)
class Page:
    """A report as a notebook shows it: whole, in a frame that can reach nothing around it."""

    path: Path
    height: int

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"))
        style = f"width:100%;height:{self.height:d}px;border:1px solid #ccc"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'


_MODELS = 8
_HEADINGS = {
    "title": "score",
    "robust_mean": "robust",
    "normal_mean": "normal",
    "difference": "difference",
    "p_adjusted": "adjusted p",
}
