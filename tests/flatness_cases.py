"""A small network, images and a run of the flatness extractor, for its tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extracting import chosen, context
from torch import nn
from torch.nn import functional

from filterlens.attacks.evaluation import Running
from filterlens.catalogs import Entry
from filterlens.dumps import DumpGroup, DumpReader, DumpWriter
from filterlens.inputs.images import Images
from filterlens.lens import RunSettings
from filterlens.lenses.flatness.analyzer import analyze
from filterlens.lenses.flatness.extractor import extract
from filterlens.lenses.flatness.options import FlatnessOptions
from filterlens.loaders.model import Classifier, LoadedModel

SETTINGS = {"fast": True, "batch_size": 8}
ENTRY = Entry(model_id="small", source="small.pt", threat_model="Linf", eps=8 / 255)


def loaded(network: nn.Module, **facts: Any) -> LoadedModel:
    return LoadedModel("small", "small.pt", "", network.state_dict(), Classifier(network).eval(), **facts)


def network_with_batchnorm(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6, eps=1e-12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 4),
    )
    network.get_buffer("1.running_mean").normal_(0, 0.3)
    network.get_buffer("1.running_var").uniform_(0.5, 2)
    return network


def images(n: int = 20, size: int = 6, classes: int = 4) -> Images:
    generator = np.random.default_rng(1)
    pixels = generator.random((n, 3, size, size), dtype=np.float32)
    return Images("random", pixels, generator.integers(0, classes, n))


def measured(
    tmp_path: Path, model: LoadedModel, data: Images | None, settings: Mapping[str, Any] = SETTINGS
) -> DumpGroup:
    path = tmp_path / "small.h5"
    with DumpWriter(path, {"model_id": "small"}) as dump:
        options, run = chosen(FlatnessOptions, settings)
        extract(context(model, ENTRY, data, options, dump.lens("flatness", {}), settings=run))
    return DumpReader(path).lens("flatness")


def score(group: DumpGroup, metric: str) -> float:
    (value,) = (float(str(row["value"])) for row in analyze(group) if row["metric"] == metric and not row.get("layer"))
    return value


def runner_of(network: nn.Module, data: Images) -> Running:
    return Running(Classifier(network).eval(), data, RunSettings(batch_size=3), bf16=False, progress=lambda *_: None)


# A linear model of two classes has its worst image in closed form: x - ε sign(w_y - w_other) (y - other), anywhere
# in weight space; so it has its robust loss, and for one image its worst weights.


def linear(seed: int = 2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))


def centred_images(n: int) -> Images:
    generator = np.random.default_rng(3)
    pixels = generator.uniform(0.3, 0.7, (n, 3, 2, 2)).astype(np.float32)
    return Images("grey", pixels, generator.integers(0, 2, n))


def linear_robust_loss(weight: torch.Tensor, data: Images, eps: float) -> torch.Tensor:
    x, y = torch.from_numpy(data.pixels).flatten(1), torch.from_numpy(data.labels)
    away = weight[1 - y] - weight[y]
    margin = -(away * x).sum(dim=1) - eps * away.abs().sum(dim=1)
    return functional.softplus(-margin)
