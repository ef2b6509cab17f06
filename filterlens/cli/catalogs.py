"""`filterlens catalogs`: which catalogs are shipped, and which models belong together in one."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

import typer
from rich.markup import escape

from filterlens.catalogs import Catalog, Entry, catalog_names, load_catalog
from filterlens.cli.terminal import make_console, make_table
from filterlens.process.printable import printable, printable_json

__all__ = ["CATALOGS_HELP", "Format", "catalogs", "licence_totals", "licences_of", "listing", "rows_of"]

CATALOGS_HELP = """List the shipped catalogs, or one catalog's models and their matched normal models.

Examples:

    filterlens catalogs

    filterlens catalogs cifar10-linf

    filterlens catalogs gavrikov2022 --format csv

    filterlens catalogs cifar10-linf --licences
"""

Row = dict[str, str]


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


def catalogs(
    name: Annotated[str, typer.Argument(help="A shipped catalog, or the path of a CSV file; nothing lists all.")] = "",
    format_: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
    *,
    licences: Annotated[
        bool, typer.Option("--licences", help="Licences of the weights that would be downloaded.")
    ] = False,
) -> None:
    """List the shipped catalogs, or one catalog's models and their matched normal models."""
    if licences and name:
        catalog = load_catalog(name)
        _show(licences_of(catalog), format_, title=f"{catalog.name}: licences of the weights")
    elif licences:
        _show(licence_totals(), format_, title="licences of the weights")
    elif name:
        catalog = load_catalog(name)
        _show(rows_of(catalog), format_, title=_title(catalog))
    else:
        _show(listing(), format_, title="shipped catalogs")


def listing() -> list[Row]:
    """Return one row a shipped catalog: models, pairs, and robust models without a match."""
    rows = []
    for name in catalog_names():
        catalog = load_catalog(name)
        rows.append(
            {
                "catalog": name,
                "models": str(len(catalog)),
                "robust": str(sum(entry.robust is True for entry in catalog)),
                "pairs": str(len(catalog.pairs())),
                "unmatched": str(len(catalog.unmatched())),
                "datasets": " ".join(dict.fromkeys(e.dataset for e in catalog if e.dataset)),
                "threat models": " ".join(dict.fromkeys(e.threat_model for e in catalog if e.threat_model)),
            }
        )
    return rows


def rows_of(catalog: Catalog) -> list[Row]:
    """Return one row a model, in the catalog's order."""
    return [
        {
            "model_id": entry.model_id,
            "architecture": entry.architecture,
            "robust": {True: "yes", False: "no", None: ""}[entry.robust],
            "matched normal model": entry.match,
            "match rule": entry.match_rule,
            "eps": _eps(entry),
            "clean %": _number(entry.clean_acc),
            "robust %": _number(entry.robust_acc),
            "source": entry.source,
        }
        for entry in catalog
    ]


def licences_of(catalog: Catalog) -> list[Row]:
    """Return one row a model: under which licence its weights are, or where that is written."""
    from filterlens.loaders.licences import licence_of

    return [{"model_id": entry.model_id, "licence": licence_of(entry), "source": entry.source} for entry in catalog]


def licence_totals() -> list[Row]:
    """Return one row a shipped catalog and licence, with the number of models."""
    totals = [(name, Counter(row["licence"] for row in licences_of(load_catalog(name)))) for name in catalog_names()]
    return [
        {"catalog": name, "licence": licence, "models": str(number)}
        for name, counts in totals
        for licence, number in counts.most_common()
    ]


def _title(catalog: Catalog) -> str:
    return f"{catalog.name}: {len(catalog)} models, {len(catalog.pairs())} pairs, {len(catalog.unmatched())} unmatched"


def _eps(entry: Entry) -> str:
    if entry.eps is None:
        return ""
    whole = entry.eps * 255
    return f"{round(whole)}/255" if abs(whole - round(whole)) < 1e-6 else f"{entry.eps:g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _show(rows: Sequence[Row], form: Format, *, title: str) -> None:
    if form is Format.table:
        _draw(rows, title)
    elif form is Format.json:
        sys.stdout.write(printable_json(json.dumps(rows, indent=2, ensure_ascii=False)) + "\n")
    else:
        text = _as_csv(rows) if form is Format.csv else _as_markdown(rows)
        exact = form is Format.csv and not sys.stdout.isatty()
        sys.stdout.write(text if exact else printable(text, lines=True))


def _draw(rows: Sequence[Row], title: str) -> None:
    table = make_table(title)
    numbers = {"models", "robust", "pairs", "unmatched", "eps", "clean %", "robust %"}
    columns = [column for column in (rows[0] if rows else {}) if column != "source"]
    for column in columns:
        table.add_column(
            column, justify="right" if column in numbers else "left", overflow="fold", no_wrap=column == "catalog"
        )
    for row in rows:
        table.add_row(*(escape(row[column]) for column in columns))
    make_console().print(table)


def _as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    returns = any("\r" in cell for row in rows for cell in row.values())  # which the writer leaves bare, to end a row
    quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n", quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _as_markdown(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(
        f"| {' | '.join(printable(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )
