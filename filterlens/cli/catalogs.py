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

_HIDDEN = ("source", "dataset", "threat_model", "mean", "std", "paper", "epoch", "training")
_SPARE = ("match_rule", "eps", "architecture", "robust")

CATALOGS_HELP = """List the shipped catalogs, or one catalog's models and their matched normal models.

Examples:

    filterlens catalogs

    filterlens catalogs cifar10-linf

    filterlens catalogs gavrikov2022 --format csv > mine.csv

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
    licences: Annotated[
        bool, typer.Option("--licences", help="Licences of the weights that would be downloaded.")
    ] = False,
    form: o.Form = Format.table,
    json: o.Json = False,
) -> None:
    """List the shipped catalogs, or one catalog's models and their matched normal models."""
    from filterlens.commands.catalogs import catalogs as run

    if name == "lock":
        _lock(locked, out, Format.json if json else form)
        return
    if locked or out is not None:
        raise InputError(f"{locked or f'--out {out}'} goes with `filterlens catalogs lock CATALOG`")
    table = run(name, licences=licences)
    what = "licences of the weights" if licences else "" if name else "shipped catalogs"
    title = ": ".join(part for part in (name, what or _summary(table)) if part)
    hidden = _HIDDEN if name and not licences else ("source",) if name else ()
    spare = _SPARE if name else ("threat_models", "unmatched", "datasets")
    print_table(table, Format.json if json else form, title=title, looks={"eps": _fraction}, hidden=hidden, spare=spare)


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


def _summary(table: pd.DataFrame) -> str:
    matched = (table["match"] != "").sum()
    unmatched = table["robust"].sum() - matched
    return f"{len(table)} models, {matched} pairs, {unmatched} unmatched"


def _fraction(eps: float) -> str:
    whole = eps * 255
    return f"{round(whole)}/255" if abs(whole - round(whole)) < 1e-6 else f"{eps:g}"
