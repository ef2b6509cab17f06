"""`filterlens import` and `filterlens export`: runs from and to other projects' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options as o

__all__ = ["exporting", "importing"]

importing = typer.Typer(no_args_is_help=True, help="Turn another project's data into a run.")
exporting = typer.Typer(no_args_is_help=True, help="Write a run in another project's format.")


@importing.command("filterdb")
def import_filterdb(
    dataset: Annotated[Path, typer.Argument(help="The data set: an HDF5 file, unpacked.")],
    *,
    models: o.Models = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="CSV file with the columns Robust and Normal: names of models.")
    ] = None,
    out: o.Out = None,
    extend: o.Extend = False,
    replace: o.Replace = False,
    jobs: o.Jobs = 1,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
) -> None:
    """Turn a CNN-Filter-DB data set into a run: its models' filters, their depth, and what is known of them.

    No checkpoint is needed, and nothing that the file holds is executed. The same command goes on where it was
    stopped. Then `filterlens analyze` and `filterlens report` give scores, tables and figures.

    Example:

        filterlens import filterdb dataset.h5 --pairs robust_vs_normal_pairings.csv --out runs/paper
    """
    from filterlens.cli.console import Display
    from filterlens.commands.filterdb import filterdb_catalog
    from filterlens.commands.filterdb import import_filterdb as run
    from filterlens.process.logs import set_up_logging

    set_up_logging(verbose=verbose, log_file=log_file)
    with Display() as display:
        display.start(len(filterdb_catalog(dataset, models=models or (), pairs=pairs)))
        outcome = run(
            dataset, out, models=models or (), pairs=pairs, jobs=jobs, extend=extend, replace=replace,
            listener=display.hear, keep_tracebacks=verbose,
        )  # fmt: skip
    display.summary(outcome)
    display.say(f"next: filterlens analyze {outcome.folder} && filterlens report {outcome.folder}")
    raise typer.Exit(1 if outcome.count("failed") else 0)


@exporting.command("filterdb")
def export_filterdb(
    folder: Annotated[Path, typer.Argument(help="The run's folder.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HDF5 file to write.")] = Path("dataset.h5"),
) -> None:
    """Write a run's 3x3 filters as a CNN-Filter-DB data set, which that project's code reads.

    Example:

        filterlens export filterdb reports/fonts-linf --out dataset.h5
    """
    from filterlens.cli.console import Display
    from filterlens.commands.filterdb import export_filterdb as run

    with Display() as display:
        exported = run(folder, out, progress=display.step("writing filters"))
    display.say(f"{exported.n_filters} filters of {exported.n_models} models: {out}")
    for model, reason in exported.left_out.items():
        display.say(f"left out: {model} ({reason})")
