"""`filterlens study`: a paper's experiment or numbers, held against what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterlens.cli import options as o
from filterlens.cli.options import Format

if TYPE_CHECKING:
    from filterlens.studies import StudyOutcome

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
    from filterlens.studies import study_manifold

    form = Format.json if json else form
    _run(study_manifold, preset, out, jobs=jobs, device=device, tables=("claims.md",), form=form)


@studies.command("flatness")
def flatness(
    *,
    preset: Annotated[
        str,
        typer.Option("--preset", help="small (FONTS, within an hour on two cores) or full (CIFAR-10, for a GPU)."),
    ] = "small",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The study's folder. Default: reports/study-flatness-PRESET.")
    ] = None,
    jobs: o.Jobs = 2,
    device: o.TrainingDevice = "cpu",
    form: o.Form = Format.table,
    json: o.Json = False,
) -> None:
    """Train networks by many methods, and hold the flatness of their robust loss to their robust gap.

    The same command goes on where it was stopped.

    Example:

        filterlens study flatness --preset small --out reports/flat
    """
    from filterlens.studies import study_flatness

    form = Format.json if json else form
    _run(study_flatness, preset, out, jobs=jobs, device=device, tables=("methods.md", "claims.md"), form=form)


def _run(
    run: Callable[..., StudyOutcome],
    preset: str,
    out: Path | None,
    *,
    jobs: int,
    device: str,
    tables: tuple[str, ...],
    form: Format,
) -> None:
    """Run a study under a progress bar, and print its tables."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from filterlens.cli.printing import print_table, say
    from filterlens.cli.terminal import describe_task, make_console, make_error_console

    console = make_console() if form is Format.table else make_error_console()
    columns = (describe_task(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        tasks = {"trained": bar.add_task("training", total=None), "attacked": bar.add_task("attacking", total=None)}

        def show(what: str, done: int, total: int) -> None:
            verb = what.partition(" ")[0]
            bar.update(tasks.get(verb, tasks["trained"]), completed=done, total=total)

        study = run(preset, out, jobs=jobs, device=device, listener=show)
    if form is not Format.table:
        print_table(study.claims, form)
        return
    for name in tables:
        for line in (study.folder / name).read_text(encoding="utf-8").split("\n"):
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
