"""The monitor measures what the lens measures, and leaves no trace in the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from extracting import context
from torch import Tensor, nn

from filterlens.catalogs import Entry
from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import InputError
from filterlens.inputs.images import Images
from filterlens.lenses.downsampling.analyzer import analyze
from filterlens.lenses.downsampling.extractor import extract
from filterlens.lenses.downsampling.options import DownsamplingOptions
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.score import as_table, model_scores
from filterlens.training import Monitor


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 1, stride=2),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_monitor_gives_what_extract_and_analyze_give(tmp_path: Path) -> None:
    model = network()
    model.get_buffer("1.running_mean").uniform_(-1, 1)
    model.get_buffer("1.running_var").uniform_(0.5, 2)
    reading = Monitor(model, images(), lens="downsampling")()
    with DumpWriter(tmp_path / "m.h5", {"model_id": "m"}) as writer:
        extract(
            context(
                LoadedModel("m", "m.pt", "", {}, Classifier(model.eval())),
                Entry(model_id="m", source="m.pt"),
                Images("noise", images().numpy(), np.zeros(6, dtype=np.int64)),
                DownsamplingOptions(channels=None),
                writer.lens("downsampling", {}),
            )
        )
    with DumpReader(tmp_path / "m.h5") as reader:
        rows = analyze(reader.lens("downsampling"))
    table = as_table([{"model_id": "m", "lens": "downsampling", **row} for row in rows])
    for metric, value in model_scores(table).loc["m"].items():
        assert reading.model[str(metric)] == pytest.approx(value, rel=1e-3)
    assert list(reading.layers) == ["0", "4", "5"]


def test_measuring_leaves_modes_statistics_gradients_and_random_state_alone() -> None:
    model = network().train()
    model.get_submodule("1").eval()  # a frozen BatchNorm stays frozen
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    monitor = Monitor(model, images(), lens="downsampling")
    assert monitor().model == monitor().model
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_modes_come_back_after_an_exception() -> None:
    model = network().train()
    with pytest.raises(InputError, match="channels"):
        Monitor(model, torch.rand(2, 4, 16, 16), lens="downsampling")()
    assert all(module.training for module in model.modules())


def test_the_score_is_one_number_of_the_reading_and_flat_names_every_number() -> None:
    monitor = Monitor(network(), images(), score="alias_energy")
    reading = monitor()
    assert monitor.score() == reading.model["alias_energy"]
    flat = reading.flat("val/")
    assert flat["val/alias_energy"] == reading.model["alias_energy"]
    assert flat["val/aliasing/4"] == reading.layers["4"]["aliasing"]
    assert len(flat) == 3 + 3 * 3


def test_what_cannot_be_measured_is_an_error() -> None:
    with pytest.raises(InputError, match="on images of shape"):
        Monitor(network(), images()[0], lens="downsampling")()
    with pytest.raises(InputError, match="no score of the downsampling lens"):
        Monitor(network(), images(), lens="downsampling", score="sparsity")
    with pytest.raises(InputError, match="no score is called 'alias'"):
        Monitor(network(), images(), score="alias")
    with pytest.raises(InputError, match="no downsampling but 1x1 shortcuts"):
        Monitor(nn.Sequential(nn.Conv2d(3, 3, 1, stride=2)), images(), lens="downsampling")()
