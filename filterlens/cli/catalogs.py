"""`filterlens catalogs`: which catalogs are shipped, and which models belong together in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from filterlens.cli import options as o
from filterlens.cli.options import Format
from filterlens.cli.printing import print_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CATALOGS_HELP", "catalogs"]

CATALOGS_HELP = """List the shipped catalogs, or one catalog's models and their matched normal models.

Examples:

    filterlens catalogs

    filterlens catalogs cifar10-linf

    filterlens catalogs gavrikov2022 --format csv

    filterlens catalogs cifar10-linf --licences
"""


def catalogs(
    name: Annotated[str, typer.Argument(help="A shipped catalog, or the path of a CSV file; nothing lists all.")] = "",
    *,
    licences: Annotated[
        bool, typer.Option("--licences", help="Licences of the weights that would be downloaded.")
    ] = False,
    form: o.Form = Format.table,
    json: o.Json = False,
) -> None:
    """List the shipped catalogs, or one catalog's models and their matched normal models."""
    from filterlens.commands.catalogs import catalogs as run

    table = run(name, licences=licences)
    what = "licences of the weights" if licences else "" if name else "shipped catalogs"
    title = ": ".join(part for part in (name, what or _summary(table)) if part)
    hidden = ("source",) if name else ()
    print_table(table, Format.json if json else form, title=title, looks={"eps": _fraction}, hidden=hidden)


def _summary(table: pd.DataFrame) -> str:
    matched = (table["match"] != "").sum()
    unmatched = table["robust"].sum() - matched
    return f"{len(table)} models, {matched} pairs, {unmatched} unmatched"


def _fraction(eps: float) -> str:
    whole = eps * 255
    return f"{round(whole)}/255" if abs(whole - round(whole)) < 1e-6 else f"{eps:g}"
