"""`filterlens study`: a paper's experiment or numbers, held against what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options as o
from filterlens.errors import InputError

__all__ = ["studies", "train_manifold"]

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
) -> None:
    """Train the networks of a paper's experiment on FONTS, attack them, and hold its claims to the numbers.

    The same command goes on where it was stopped.

    Example:

        filterlens study manifold --preset small --out reports/study
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from filterlens.cli.printing import say
    from filterlens.cli.terminal import describe_task, make_console
    from filterlens.studies.manifold import PRESETS, run_study

    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r}: choose one of {', '.join(PRESETS)}")
    folder = out or Path("reports") / f"study-manifold-{preset}"
    columns = (describe_task(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=make_console()) as bar:
        tasks = {"trained": bar.add_task("training", total=None), "attacked": bar.add_task("attacking", total=None)}

        def show(what: str, done: int, total: int) -> None:
            verb = what.partition(" ")[0]
            bar.update(tasks.get(verb, tasks["trained"]), completed=done, total=total)

        page = run_study(PRESETS[preset], folder, jobs=jobs, device=device, listener=show)
    for line in (folder / "claims.md").read_text(encoding="utf-8").split("\n"):
        say(line)
    say(f"report: {page}; claims: {folder / 'claims.csv'}")


@studies.command("filters")
def filters(folder: Annotated[Path, typer.Argument(help="An analysed run's folder.")]) -> None:
    """Compute the numbers of Gavrikov & Keuper 2022 for a run: sparse filters, shifts, rank correlations.

    Published values stand beside them; they come out on the paper's own data set (`filterlens import filterdb`).

    Example:

        filterlens study filters runs/paper
    """
    import math

    from rich.markup import escape

    from filterlens.cli.printing import say
    from filterlens.cli.terminal import make_console, make_table
    from filterlens.studies.filters import write_filter_numbers

    numbers, path = write_filter_numbers(folder)
    drawn = make_table("numbers of Gavrikov & Keuper 2022")
    for heading in ("quantity", "data set", "models", "here", "n", "published"):
        drawn.add_column(heading, justify="right" if heading in {"here", "n", "published"} else "left")
    for row in numbers.to_dict("records"):
        here, published = ("–" if math.isnan(row[name]) else f"{row[name]:.4f}" for name in ("value", "published"))
        names = (escape(str(row[name])) for name in ("quantity", "dataset", "models"))
        drawn.add_row(*names, here, str(row["n"]), published)
    make_console().print(drawn)
    say(f"table: {path}")


def train_manifold(
    data: str, out: Path | None, *, images: int, epochs: int, batch_size: int, seed: int, device: str
) -> Path:
    """Learn the manifold of a data set, show each epoch's losses, and return the file for `--manifold`.

    Every tenth image is held out where the data set has no test split of its own.
    """
    from filterlens.cli.printing import say
    from filterlens.cli.terminal import make_console
    from filterlens.manifolds.fit import Fit, fit_manifold, load_split

    path = (out or Path("trained") / f"manifold-{Path(data).stem}") / "manifold.safetensors"
    train, held_out = load_split(data, images, seed=seed)
    console = make_console()

    def show(done: int, total: int, losses: dict[str, float]) -> None:
        console.print(f"epoch {done}/{total}: " + ", ".join(f"{name} {value:.2f}" for name, value in losses.items()))

    fit = Fit(epochs=epochs, batch_size=batch_size, seed=seed, device=device)
    card = fit_manifold(train, held_out, path, fit, progress=show)
    say(f"manifold: {path}; mean L2 error of held-out reconstructions: {card['reconstruction_l2']:.3f}")
    return path
