"""`filterlens study`: a paper's experiment or numbers, held against what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options as o
from filterlens.cli.options import Format

__all__ = ["studies"]

studies = typer.Typer(no_args_is_help=True, help="Repeat what a paper did, and hold its claims to the numbers.")


@studies.command("manifold")
def manifold(
    *,
    preset: Annotated[
        str, typer.Option("--preset", help="small (under 15 minutes on two cores) or full (for a GPU).")
    ] = "small",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The study's folder. Default: reports/study-manifold-PRESET.")
    ] = None,
    jobs: o.Jobs = 2,
    device: o.TrainingDevice = "cpu",
    form: o.Form = Format.table,
    json: o.Json = False,
) -> None:
    """Train the networks of a paper's experiment on FONTS, attack them, and hold its claims to the numbers.

    The same command goes on where it was stopped.

    Example:

        filterlens study manifold --preset small --out reports/study
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from filterlens.cli.printing import print_table, say
    from filterlens.cli.terminal import describe_task, make_console, make_error_console
    from filterlens.studies import study_manifold

    form = Format.json if json else form
    console = make_console() if form is Format.table else make_error_console()
    columns = (describe_task(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        tasks = {"trained": bar.add_task("training", total=None), "attacked": bar.add_task("attacking", total=None)}

        def show(what: str, done: int, total: int) -> None:
            verb = what.partition(" ")[0]
            bar.update(tasks.get(verb, tasks["trained"]), completed=done, total=total)

        study = study_manifold(preset, out, jobs=jobs, device=device, listener=show)
    if form is not Format.table:
        print_table(study.claims, form)
        return
    for line in (study.folder / "claims.md").read_text(encoding="utf-8").split("\n"):
        say(line)
    say(f"report: {study.page}; claims: {study.folder / 'claims.csv'}")


@studies.command("filters")
def filters(
    folder: Annotated[Path, typer.Argument(help="An analysed run's folder.")],
    *,
    form: o.Form = Format.table,
    json: o.Json = False,
) -> None:
    """Compute the numbers of Gavrikov & Keuper 2022 for a run: sparse filters, shifts, rank correlations.

    Published values stand beside them; they come out on the paper's own data set (`filterlens import filterdb`).

    Example:

        filterlens study filters runs/paper
    """
    from filterlens.cli.printing import print_table, say
    from filterlens.studies import study_filters

    form = Format.json if json else form
    looks = dict.fromkeys(("value", "published"), "{:.4f}".format)
    print_table(study_filters(folder), form, title="numbers of Gavrikov & Keuper 2022", looks=looks)
    if form is Format.table:
        say(f"table: {folder / 'numbers.csv'}")
