"""The command line's commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from filterlens.cli import audit, card, catalogs, fetch, filterdb, inspect, listing, log, study, table, train
from filterlens.cli.lens_options import with_flag
from filterlens.errors import CatalogError, FilterlensError, InputError, MissingExtraError
from filterlens.process.files import cannot_write, explain_failure
from filterlens.process.logs import log_end, show_escapes
from filterlens.process.printable import printable

__all__ = ["app", "run"]


_UsageError: Final[Any] = typer.BadParameter.__mro__[1]


class _Commands(TyperGroup):
    """The commands, whose complaints about usage repeat words of the user as text: they may be names of files."""

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 - a context of click, or of the copy of click within typer
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            error.message = printable(error.message)
            raise


app = typer.Typer(
    cls=_Commands,
    name="filterlens",
    help="What do a vision checkpoint's weights and feature maps give away?\n\n"
    "Start with `filterlens audit`: it audits a bundled zoo in minutes and writes a report. Then "
    "`filterlens audit --leaderboard cifar10-linf`, or the path of your own catalog.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:  # noqa: FBT001 - typer's callback
    if show:
        from filterlens import __version__

        sys.stdout.write(f"filterlens {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


app.command("audit", help=audit.AUDIT_HELP)(audit.audit)
app.command("extract", help=audit.EXTRACT_HELP)(audit.extract)
app.command("analyze")(audit.analyze)
app.command("report")(audit.report)
app.command("table")(table.table)
app.command("catalogs", help=catalogs.CATALOGS_HELP)(catalogs.catalogs)
app.command("fetch", help=fetch.FETCH_HELP)(fetch.fetch)
app.command("inspect")(inspect.inspect)
app.command("compare")(inspect.compare)
app.command("check")(inspect.check)
app.command("card")(card.card)
app.command("log")(log.log)
app.command("explain")(inspect.explain)
app.command("ls")(listing.ls)
app.command("schema")(listing.schema)
app.command("selftest")(inspect.selftest)
app.add_typer(filterdb.importing, name="import")
app.add_typer(filterdb.exporting, name="export")
app.command("train")(train.train)
app.add_typer(study.studies, name="study")


def _show_traceback(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    sys.stderr.write(printable("".join(traceback.format_exception(error)), lines=True))


def run() -> None:
    """Run the command that was given; an error becomes a line and an exit code."""
    show_escapes()
    try:
        app()
    except FilterlensError as error:
        log_end(error)
        sys.stderr.write(f"filterlens: {printable(with_flag(str(error)))}\n")
        sys.exit(2 if isinstance(error, CatalogError | InputError | MissingExtraError) else 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        log_end(error)
        if isinstance(error, OSError) and cannot_write(error):
            said = explain_failure(Path(error.filename or Path.cwd()), error)
            sys.stderr.write(f"filterlens: {printable(said)}\n")
            sys.exit(1)
        if "--verbose" in sys.argv or "-v" in sys.argv:
            sys.excepthook = _show_traceback  # typer has put its own there
            raise
        sys.stderr.write(
            f"filterlens: {type(error).__name__}: {printable(str(error))}\n"
            "This was not foreseen and is a bug: run the command again with --verbose and report what it prints.\n"
        )
        sys.exit(1)
