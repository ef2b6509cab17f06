"""Readings reach a CSV file, TensorBoard, Weights & Biases and Lightning."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from filterlens.errors import InputError, MissingExtraError
from filterlens.training import EarlyStopping, Monitor, Reading
from filterlens.training.logs import csv_log, lightning_callback, tensorboard_log, wandb_log

READING = Reading({"aliasing": 0.5}, {"conv1": {"aliasing": 0.25}})


def test_a_csv_log_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.csv"
    csv_log(path)(0, READING.flat())
    csv_log(path)(1, READING.flat("val/"))
    table = pd.read_csv(path)
    assert table.to_numpy().tolist() == [
        [0, "aliasing", 0.5],
        [0, "aliasing/conv1", 0.25],
        [1, "val/aliasing", 0.5],
        [1, "val/aliasing/conv1", 0.25],
    ]


def test_a_file_with_other_columns_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has the columns a, b where a log has epoch, name, value"):
        csv_log(path)
    assert path.read_text() == "a,b\n1,2\n"


def test_tensorboard_and_wandb_get_every_number_with_its_epoch() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.scalars: list[tuple[str, float, int]] = []

        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            self.scalars.append((tag, scalar_value, global_step))

        def log(self, data: dict[str, float], step: int) -> None:
            self.scalars += [(name, value, step) for name, value in data.items()]

    writer, run = Recorder(), Recorder()
    tensorboard_log(writer)(4, READING.flat())
    wandb_log(run)(4, READING.flat())
    assert writer.scalars == run.scalars == [("aliasing", 0.5, 4), ("aliasing/conv1", 0.25, 4)]


def test_a_plain_loop_with_every_part(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Flatten(), nn.LazyLinear(4))
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8) % 4
    model(images)
    aliasing, filters = Monitor(model, images, lens="downsampling"), Monitor(model, lens="filters")
    log, stopping = csv_log(tmp_path / "log.csv"), EarlyStopping()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(3):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()
        reading = aliasing()
        log(epoch, reading.flat() | filters().flat())
        stopping.step(reading.model["aliasing_relative"], model)
    table = pd.read_csv(tmp_path / "log.csv")
    assert set(table["epoch"]) == {0, 1, 2}
    assert table.loc[table["name"] == "aliasing/0", "value"].nunique() == 3
    assert {"sparsity", "variance_entropy/0"} <= set(table["name"])


def test_lightning_is_optional_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(MissingExtraError, match=r'pip install "filterlens\[lightning\]"'):
        lightning_callback(lambda: READING)


@pytest.mark.filterwarnings("ignore")  # Lightning warns about torch, loaders and loggers of its own
def test_the_lightning_callback_logs_stops_and_gives_the_weights_back(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason="the optional extra filterlens[lightning] is not here")

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch: torch.Tensor, _index: int) -> torch.Tensor:
            out: torch.Tensor = self.layer(batch).square().mean()
            return out

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    scores = iter([0.3, 0.2, 0.4, 0.4, 0.4, 0.4])
    logged: list[int] = []
    stopping = EarlyStopping(warmup=1, noise=0.01)
    callback = lightning_callback(
        lambda: Reading({"aliasing_relative": next(scores)}, {}),
        log=lambda epoch, _: logged.append(epoch),
        stopping=stopping,
    )
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=6, callbacks=[callback], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(torch.rand(4, 2), batch_size=2))  # type: ignore[arg-type]
    assert logged == [0, 1, 2]
    assert stopping.best_epoch == 1
    torch.testing.assert_close(module.state_dict()["layer.weight"], stopping.best_state["layer.weight"])
