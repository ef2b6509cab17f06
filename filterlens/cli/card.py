"""`filterlens card`: a model's scores for its card on the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import completion
from filterlens.cli.printing import say
from filterlens.errors import InputError
from filterlens.process.printable import printable

__all__ = ["card"]


def card(
    run: Annotated[Path, typer.Argument(help="A run's folder, analysed, such as reports/fonts-linf.")],
    model: Annotated[str, typer.Argument(help="One of its models.", autocompletion=completion.run_models)],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The card, README.md of a repository: made, or its section and results of filterlens are replaced.",
        ),
    ] = None,
    benchmark: Annotated[
        str,
        typer.Option(
            "--benchmark",
            metavar="ORG/DATASET",
            help="A data set of the Hub that registers these scores as tasks: writes .eval_results/audit.yaml "
            "beside --out too.",
        ),
    ] = "",
) -> None:
    """Write a model's scores for its card: Markdown, and evaluation results as the Hugging Face Hub reads them.

    Examples
    --------
        filterlens card reports/fonts-linf preact_resnet-pgd-s0

        filterlens card reports/mine my-model --out my-repository/README.md
    """
    from filterlens.commands.card import card as write
    from filterlens.commands.card import read_card
    from filterlens.process.files import write_atomically

    made = write(run, model, benchmark=benchmark)
    if benchmark and out is None:
        raise InputError("--benchmark goes with --out README.md, beside which .eval_results/audit.yaml is written")
    if out is None:
        sys.stdout.write(printable(made.text, lines=True))
        return
    write_atomically(out, made.put_into(read_card(out)))
    say(f"{len(made.results)} scores of {model}: {out}")
    if made.entries:
        path = out.parent / ".eval_results" / "audit.yaml"
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, made.eval_results)
        say(f"evaluation results: {path}")
