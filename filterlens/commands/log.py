"""`log`: a finished audit in the tracker that a lab keeps its experiments in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from filterlens.errors import InputError

if TYPE_CHECKING:
    from filterlens.commands.trackers.content import Logged

__all__ = ["TRACKERS", "log"]

TRACKERS: Final = ("mlflow", "wandb", "tensorboard")


def log(
    folder: str | Path,
    to: str,
    *,
    project: str = "filterlens",
    name: str = "",
    place: str | Path = "",
    offline: bool = False,
) -> Logged:
    """Log a finished audit to MLflow, Weights & Biases or TensorBoard: scores, tables, figures, settings.

    The audit is one run of the tracker; each model is one too, with its scores as metrics, and so is each training,
    whose checkpoints are steps.

    Parameters
    ----------
    folder
        A run's folder, with its report.
    to
        `mlflow`, `wandb` or `tensorboard`.
    project
        MLflow's experiment, or the project of Weights & Biases.
    name
        What the audit is called there; its folder's name where empty.
    place
        MLflow's tracking URI; the folder for the files of Weights & Biases, or TensorBoard's folder of logs. Where
        empty, what the client itself takes.
    offline
        Of Weights & Biases: write files only, and send nothing.

    Returns
    -------
        Where it is, and what shows it.

    Raises
    ------
    InputError
        There is no such tracker, or it has no such option.
    MissingExtraError
        Its client is not installed: the extra `trackers` brings it.
    ReportError
        The folder is no analysed run, or its report is missing or older than its scores.
    WriteError
        The tracker refuses or cannot be reached.

    Examples
    --------
    >>> import filterlens
    >>> where = filterlens.log("reports/mine", "mlflow", project="robustness")  # doctest: +SKIP
    """
    from filterlens.commands.trackers import mlflow, tensorboard, wandb
    from filterlens.commands.trackers.content import read_audit

    if to not in TRACKERS:
        raise InputError(f"no tracker is called {to!r}; there are {', '.join(TRACKERS)}")
    if offline and to != "wandb":
        raise InputError(f"--offline is for wandb: where {to} writes is said by --place")
    audit = read_audit(Path(folder), name)
    if to == "mlflow":
        return mlflow.log(audit, project=project, place=str(place))
    if to == "wandb":
        return wandb.log(audit, project=project, place=str(place), offline=offline)
    return tensorboard.log(audit, place=str(place))
