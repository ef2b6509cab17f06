"""`filterlens table`: chosen scores of a run, as a table that fits a paper."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options as o
from filterlens.cli.printing import say_lines

__all__ = ["table"]


class PaperWidth(StrEnum):
    """How wide a table may be."""

    column = "column"
    page = "page"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def table(
    folder: Annotated[Path, typer.Argument(help="A run's folder, such as reports/fonts-linf.")],
    *,
    scores: Annotated[
        str, typer.Option("--scores", "-s", help="Comma-separated, in this order; `filterlens explain` lists them.")
    ] = "",
    of: Annotated[
        str,
        typer.Option(
            "--of",
            metavar="TABLE",
            help="A table of the report, such as models or correlation. Default: robust_vs_normal.",
        ),
    ] = "",
    columns: Annotated[
        str, typer.Option("--columns", help="Keys of columns, comma-separated. Default: those that say most.")
    ] = "",
    width: Annotated[
        PaperWidth, typer.Option("--width", help="Of one column of the paper, or of its page.")
    ] = PaperWidth.column,
    style: o.Style = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write this file instead of printing.")] = None,
) -> None:
    """Print chosen scores as a LaTeX table that fits a paper's column or page.

    Example:

        filterlens table reports/fonts-linf --scores sparsity,variance_entropy,aliasing --style cvpr
    """
    from filterlens.commands.table import table as make
    from filterlens.process.files import write_atomically

    text = make(folder, _names(scores), of=of, columns=_names(columns), width=width.value, style=style)
    if out is None:
        say_lines(text)
    else:
        write_atomically(out, text.encode("utf-8", "replace"))
