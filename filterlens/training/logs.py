"""Where readings go: a CSV file, TensorBoard, Weights & Biases, or a Lightning trainer. None of them is required."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from filterlens.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from filterlens.training.early_stopping import Stopping
    from filterlens.training.reading import Reading

__all__ = ["Log", "csv_log", "lightning_callback", "tensorboard_log", "wandb_log"]

Log = Callable[[int, Mapping[str, float]], None]
"""Takes an epoch and every number by name, as `Reading.flat()` gives them."""


class ScalarWriter(Protocol):
    """The part of TensorBoard's `SummaryWriter` that is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Store one number."""


class RunLogger(Protocol):
    """The part of a Weights & Biases run that is used."""

    def log(self, data: dict[str, float], step: int) -> None:
        """Store numbers."""


def csv_log(path: Path) -> Log:
    """Append one line a number to a CSV file with the columns `epoch`, `name` and `value`.

    Parameters
    ----------
    path
        Made with a heading where it is not there; a training that goes on goes on in the same file.

    Raises
    ------
    InputError
        The file is there and has other columns.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "aliasing.csv"
    >>> csv_log(path)(3, {"aliasing": 0.25})
    >>> path.read_text().split()
    ['epoch,name,value', '3,aliasing,0.25']
    """
    heading = ["epoch", "name", "value"]
    if path.is_file() and path.stat().st_size:
        with path.open(newline="", encoding="utf-8") as file:
            found = next(csv.reader(file), [])
        if found != heading:
            raise InputError(f"{path} has the columns {', '.join(found)} where a log has {', '.join(heading)}")
    else:
        _append(path, [heading])

    def log(epoch: int, values: Mapping[str, float]) -> None:
        _append(path, [[epoch, name, value] for name, value in values.items()])

    return log


def _append(path: Path, rows: list[list[object]] | list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def tensorboard_log(writer: ScalarWriter) -> Log:
    """Log to TensorBoard through a `SummaryWriter` of yours."""

    def log(epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, epoch)

    return log


def wandb_log(run: RunLogger) -> Log:
    """Log to Weights & Biases through a run of yours, as `wandb.init()` returns it."""

    def log(epoch: int, values: Mapping[str, float]) -> None:
        run.log(dict(values), step=epoch)

    return log


def lightning_callback(
    monitor: Callable[[], Reading],
    *,
    log: Log | None = None,
    stopping: Stopping | None = None,
    score: str = "aliasing_relative",
    prefix: str = "",
) -> Callback:
    """Make a Lightning callback that measures after every training epoch.

    Parameters
    ----------
    monitor
        A `Monitor` of the trained module.
    log
        Where readings go besides Lightning's own logger, which gets the model's means.
    stopping
        Stops the trainer, and gives the kept weights back when training ends so.
    score
        The metric that `stopping` watches.
    prefix
        Before every name.

    Raises
    ------
    MissingExtraError
        Lightning is not installed.
    """
    try:
        from lightning.pytorch import Callback, LightningModule, Trainer
    except ImportError as error:
        raise MissingExtraError(
            'the Lightning callback needs Lightning: pip install "filterlens[lightning]"'
        ) from error

    class MonitorCallback(Callback):  # type: ignore[misc,unused-ignore]  # untyped where it is not installed
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            reading = monitor()
            pl_module.log_dict({f"{prefix}{metric}": value for metric, value in reading.model.items()})
            if log is not None:
                log(trainer.current_epoch, reading.flat(prefix))
            if stopping is not None and stopping.step(reading.model[score], pl_module):
                trainer.should_stop = True

        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if stopping is not None and stopping.should_stop:
                stopping.restore(pl_module)

    return MonitorCallback()
