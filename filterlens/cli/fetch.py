"""`filterlens fetch`: what an audit will need, brought into the cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filterlens.cli import options as o
from filterlens.cli.options import Format
from filterlens.cli.printing import print_table, warn

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FETCH_HELP", "fetch"]

FETCH_HELP = """Fetch what a catalog's models need into the cache.

Says first how much it is, and whether the disk has room. What breaks off goes on from there, also in the next run.
Exit code 1 when something could not be fetched; the rest is.

Examples:

    filterlens fetch -l cifar10-linf

    filterlens fetch -l cifar10-linf --models 'Wong*' --dry-run

    FILTERLENS_CACHE=/shared/models filterlens fetch -l imagenet-linf
"""


def fetch(
    leaderboard: o.Leaderboard = "",
    *,
    models: o.Models = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched and how large it is.")] = False,
    offline: o.Offline = False,
    mirror: o.Mirror = "",
    form: o.Form = Format.table,
    json: o.Json = False,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
) -> None:
    """Fetch what a catalog's models need into the cache."""
    from filterlens.cli.console import set_up_logging
    from filterlens.cli.downloads import Downloads
    from filterlens.commands.fetch import fetch as run
    from filterlens.commands.plan import DEFAULT
    from filterlens.fetching import gigabytes

    set_up_logging(verbose=verbose, log_file=log_file)
    with Downloads() as downloads:

        def planned(sizes: Mapping[str, int | None], free: int) -> None:
            downloads.plan(sizes, free)

        table = run(
            leaderboard or DEFAULT,
            models=models or (),
            dry_run=dry_run,
            offline=offline,
            planned=planned,
            listener=downloads.hear,
        )
    failed = table[(table["status"] == "failed") | (offline & (table["status"] == "missing"))]

    def bytes_text(size: Any) -> str:  # noqa: ANN401 - a cell
        return gigabytes(size)

    title = _summary(table)
    print_table(table, Format.json if json else form, title=title, looks={"size": bytes_text}, hidden=("path",))
    for row in failed.itertuples():
        reason = str(row.reason).removeprefix(f"{row.model_id}: ")
        warn(f"{row.model_id} is not fetched: {reason or 'it is not in the cache, and --offline was given'}")
    raise typer.Exit(1 if len(failed) else 0)


def _summary(table: pd.DataFrame) -> str:
    """Count what is here, what came and what did not."""
    from filterlens.fetching import gigabytes

    parts = []
    for status in dict.fromkeys(table["status"].astype(str)):
        rows = table[table["status"] == status]
        files = rows.drop_duplicates("file") if (rows["file"] != "").all() else rows
        size = f", {gigabytes(int(files['size'].sum()))}" if files["size"].notna().any() else ""
        unknown = f", {n} of unknown size" if status == "missing" and (n := int(files["size"].isna().sum())) else ""
        parts.append(f"{len(files)} {status}{size}{unknown}")
    return "; ".join(parts)
