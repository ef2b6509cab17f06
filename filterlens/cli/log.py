"""`filterlens log`: a finished audit in a tracker of experiments."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli.printing import say

__all__ = ["log"]


class Tracker(StrEnum):
    """Where experiments are kept."""

    mlflow = "mlflow"
    wandb = "wandb"
    tensorboard = "tensorboard"


def log(
    run: Annotated[Path, typer.Argument(help="A run's folder, with its report, such as reports/fonts-linf.")],
    *,
    to: Annotated[Tracker, typer.Option("--to", help="The tracker of your experiments.")],
    project: Annotated[
        str, typer.Option("--project", help="MLflow's experiment, or the project of Weights & Biases.")
    ] = "filterlens",
    name: Annotated[str, typer.Option("--name", help="What the audit is called there. Default: its folder.")] = "",
    place: Annotated[
        str,
        typer.Option(
            "--place",
            metavar="PLACE",
            help="MLflow's tracking URI; the folder for wandb's files; TensorBoard's folder of logs. Default: the "
            "client's own (MLFLOW_TRACKING_URI; the working folder; runs).",
        ),
    ] = "",
    offline: Annotated[
        bool, typer.Option("--offline", help="wandb: write files and send nothing; `wandb sync` does that later.")
    ] = False,
) -> None:
    """Log a finished audit to MLflow, Weights & Biases or TensorBoard.

    The audit is one run there, and each model one, with its scores as metrics, its layers as a table, and what the
    catalog says; a training is one run, whose checkpoints are steps. Needs the extra `trackers`.

    Examples
    --------
        filterlens log reports/mine --to mlflow --project robustness

        filterlens log reports/mine --to wandb --offline

        filterlens log reports/mine --to tensorboard --place runs
    """
    from filterlens.commands.log import log as write

    done = write(run, to.value, project=project, name=name, place=place, offline=offline)
    if done.written:
        say(f"{done.runs} runs in {to.value}: {done.place}")
    else:
        say(f"the same results are in {to.value} already, nothing was written: {done.place}")
    say(f"to see them: {done.show}")
