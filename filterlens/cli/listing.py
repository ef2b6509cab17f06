"""`filterlens ls` and `schema`: what there is to choose from, and the form of what is written for machines."""

from __future__ import annotations

from typing import Annotated

import typer

from filterlens.cli import completion
from filterlens.cli import options as o
from filterlens.cli.options import Format
from filterlens.cli.printing import print_object, print_table
from filterlens.commands.listing import LISTS
from filterlens.commands.schemas import SCHEMAS

__all__ = ["ls", "schema"]


_SPARE = (
    "auxiliary",
    "scores",
    "needs_images",
    "unit",
    "low",
    "high",
    "higher_is_better",
    "title",
    "id",
    "threat_models",
    "unmatched",
    "datasets",
)


def ls(
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(LISTS)}.", autocompletion=completion.lists)],
    *,
    form: o.Form = Format.table,
    json: o.Json = False,
) -> None:
    """List lenses, scores, catalogs, sources or schemas; those of installed packages too.

    Examples
    --------
        filterlens ls scores

        filterlens ls sources --format json
    """
    from filterlens.commands.listing import ls as run

    print_table(run(what), Format.json if json else form, spare=_SPARE)


def schema(
    name: Annotated[
        str,
        typer.Argument(
            help=f"One of {', '.join(SCHEMAS)}; `filterlens ls schemas` says of what.",
            autocompletion=completion.schemas,
        ),
    ],
) -> None:
    """Print the JSON Schema of what filterlens writes for machines.

    Example:

        filterlens schema check > check.schema.json
    """
    from filterlens.commands.schemas import schema as run

    print_object(run(name))
