"""`filterlens catalogs`: which catalogs are shipped, and which models belong together in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterlens.cli import completion
from filterlens.cli import options as o
from filterlens.cli.options import Format
from filterlens.cli.printing import print_table, warn
from filterlens.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CATALOGS_HELP", "catalogs"]

_MOST_DRAWN = 100_000
_SHOWN = ("model_id", "architecture", "robust", "match", "match_rule", "eps", "clean_acc", "robust_acc")
_SPARE = ("match_rule", "eps", "architecture", "robust")
_NEVER = ("source", "dataset", "threat_model", "mean", "std", "paper", "epoch", "training")

CATALOGS_HELP = """List the shipped catalogs, or one catalog's models and their matched normal models.

Examples:

    filterlens catalogs

    filterlens catalogs cifar10-linf

    filterlens catalogs gavrikov2022 --format csv > mine.csv

    filterlens catalogs timm-imagenet --models 'resnet*'

    filterlens catalogs cifar10-linf --licences

    filterlens catalogs lock cifar10-linf
"""


def catalogs(
    name: Annotated[
        str,
        typer.Argument(
            help="A shipped catalog, or the path of a CSV file; nothing lists all. `lock`: write size and SHA-256 of "
            "the files of the catalog that follows into a lock file, which audits hold them against.",
            autocompletion=completion.catalogs,
        ),
    ] = "",
    locked: Annotated[
        str, typer.Argument(metavar="[CATALOG]", help="After `lock`: whose files.", autocompletion=completion.catalogs)
    ] = "",
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="After `lock`: the file. Default: beside the catalog, where audits find it."),
    ] = None,
    models: o.Models = None,
    licences: Annotated[
        bool, typer.Option("--licences", help="Licences of the weights that would be downloaded.")
    ] = False,
    form: o.Form = Format.table,
    json: o.Json = False,
) -> None:
    """List the shipped catalogs, or one catalog's models and their matched normal models."""
    from filterlens.catalogs import load_catalog
    from filterlens.commands.catalogs import catalogs as run

    form = Format.json if json else form
    if name == "lock":
        if models:
            raise InputError("filterlens catalogs lock CATALOG locks every model of the catalog: leave --models out")
        _lock(locked, out, form)
        return
    if locked or out is not None:
        raise InputError(f"{locked or f'--out {out}'} goes with `filterlens catalogs lock CATALOG`")
    if name:
        catalog = load_catalog(name)
        catalog = catalog.select(models) if models else catalog
        if len(catalog) > _MOST_DRAWN and form in {Format.table, Format.markdown}:
            raise InputError(
                f"{name} lists {len(catalog)} models, too many to draw: choose some with --models, or give --format csv"
            )
        table = run(catalog, licences=licences)
    else:
        table = run(models=models or (), licences=licences)
    what = "licences of the weights" if licences else "" if name else "shipped catalogs"
    title = ": ".join(part for part in (name, what or _summary(table)) if part)
    if not name:
        spare: tuple[str, ...] = ("threat_models", "unmatched", "datasets")
    else:
        spare = tuple(str(column) for column in reversed(table.columns) if column not in _SHOWN) + _SPARE
    hidden = _hidden(table) if name else ()
    print_table(table, form, title=title, looks={"eps": _fraction}, hidden=hidden, spare=spare)


def _lock(name: str, out: Path | None, form: Format) -> None:
    """Write a lock file, and tell which files are not here."""
    from filterlens.commands.catalogs import catalogs_lock

    if not name:
        raise InputError("filterlens catalogs lock CATALOG: give a shipped catalog, or the path of a CSV file")
    table = catalogs_lock(name, out)
    missing = table[table["sha256"] == ""]
    title = f"{name}: {len(table) - len(missing)} files locked"
    print_table(table[table["sha256"] != ""], form, title=title, hidden=("source",))
    for row in missing.itertuples():
        file = str(row.file) or str(row.source)
        warn(f"{row.model_id!s} is not in the lock: {file} is not here; filterlens fetch brings it")


def _hidden(table: pd.DataFrame) -> tuple[str, ...]:
    """Columns that a terminal goes without: what is for machines, and what no model has."""
    known = {str(column): (table[column].notna() & (table[column].astype(str) != "")).any() for column in table}
    return (*_NEVER, *(column for column, some in known.items() if not some))


def _summary(table: pd.DataFrame) -> str:
    robust, matched = table["robust"].fillna(False).astype(bool), table["match"] != ""  # noqa: FBT003 - a value
    pairs, twins = int((robust & matched).sum()), int((~robust & matched).sum())
    told = [f"{len(table)} models", f"{pairs} pairs", f"{int(robust.sum()) - pairs} unmatched"]
    return ", ".join([*told, *([f"{twins} twins that are not robust"] if twins else [])])


def _fraction(eps: float) -> str:
    whole = eps * 255
    return f"{round(whole)}/255" if abs(whole - round(whole)) < 1e-6 else f"{eps:g}"
