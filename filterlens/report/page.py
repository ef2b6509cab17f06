"""The page: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from filterlens.report.data import RunData
from filterlens.report.formats import Table

if TYPE_CHECKING:
    from filterlens.report.write import FinishedFigure

__all__ = ["render_page"]


def render_page(
    run: RunData,
    tables: Sequence[Table],
    figures: Sequence[FinishedFigure],
    failed: Mapping[str, str],
    *,
    inline: bool = True,
) -> str:
    """Render `index.html`."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("filterlens.report", "templates"), autoescape=True)
    context = {"run": run, "tables": tables, "figures": figures, "failed": failed, "inline": inline}
    return environment.get_template("index.html").render(context)
