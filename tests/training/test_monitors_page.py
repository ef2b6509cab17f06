"""Every example of docs/monitors.md runs as it is written, and logs what it says."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitors.md"
SECTIONS = dict(
    re.findall(r"^## (.+?)\n.*?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run one section's example in an empty folder on a small network; two epochs."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 4))
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8) % 4
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)

    def train_one_epoch(network: nn.Module) -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()

    def run_section(section: str, **names: object) -> dict[str, object]:
        space = {
            "model": model,
            "images": images,
            "labels": labels,
            "eps": 0.1,
            "epochs": 2,
            "train_one_epoch": train_one_epoch,
        } | names
        exec(compile(SECTIONS[section], f"{PAGE.name}: {section}", "exec"), space)
        return space

    return run_section


def test_the_page_has_an_example_of_every_log() -> None:
    assert list(SECTIONS) == [
        "A plain loop", "TensorBoard", "Weights & Biases", "Lightning", "Stop when training collapses"
    ]  # fmt: skip


def test_the_plain_loop_writes_both_monitors_to_a_file(run: Callable[..., object], tmp_path: Path) -> None:
    run("A plain loop")
    table = pd.read_csv(tmp_path / "scores.csv").pivot_table(index="name", columns="epoch", values="value")
    assert {"aliasing", "aliasing_relative/0", "sparsity", "orthogonality/0"} <= set(table.index)
    moved = table.loc["orthogonality/0"]
    assert table.columns.astype(int).tolist() == [0, 1]
    assert moved[0] != moved[1]


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own imports
def test_tensorboard_holds_every_number_of_every_epoch(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra filterlens[dev] brings TensorBoard"
    )
    space = run("TensorBoard")
    stored = events.EventAccumulator(str(tmp_path / "runs"))
    stored.Reload()
    reading = space["filters"]().flat("filters/")
    assert set(stored.Tags()["scalars"]) == set(reading)
    assert [event.step for event in stored.Scalars("filters/orthogonality")] == [0, 1]
    assert stored.Scalars("filters/orthogonality")[-1].value == pytest.approx(reading["filters/orthogonality"])


def test_weights_and_biases_gets_every_number(run: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[int, set[str]]] = []
    record = SimpleNamespace(log=lambda data, step: logged.append((step, set(data))))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda project: record))
    run("Weights & Biases")
    assert [step for step, _ in logged] == [0, 1]
    assert {"aliasing", "aliasing/0"} <= logged[0][1]


@pytest.mark.filterwarnings("ignore")  # Lightning warns about torch, loaders and loggers of its own
def test_a_lightning_trainer_logs_the_means(run: Callable[..., dict[str, Any]]) -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason="the optional extra filterlens[lightning] is not here")

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Flatten(), nn.LazyLinear(4))
            self.network(torch.rand(1, 3, 8, 8))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.network(images)
            return out

        def training_step(self, batch: torch.Tensor, _index: int) -> torch.Tensor:
            out: torch.Tensor = self(batch).square().mean()
            return out

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader = torch.utils.data.DataLoader(torch.rand(4, 3, 8, 8), batch_size=2)  # type: ignore[arg-type, var-annotated]
    space = run("Lightning", module=Module(), loader=loader)
    metrics = space["trainer"].logged_metrics
    assert 0 <= float(metrics["gradient_misalignment"]) <= 2


def test_early_stopping_gives_a_state_back(run: Callable[..., dict[str, Any]]) -> None:
    space = run("Stop when training collapses")
    best = space["stopping"].best_state
    torch.testing.assert_close(dict(space["model"].state_dict()), dict(best))
