"""What the loaders' tests share: a cache of their own, a witness that no payload ran, small networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from filterlens.catalogs import Entry
from filterlens.loaders import load_model, transfer, zenodo
from filterlens.loaders.model import LoadedModel

Load = Callable[..., LoadedModel]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, named by the environment as a user would."""
    zenodo._listed.cache_clear()
    folder = tmp_path / "cache"
    monkeypatch.setenv("FILTERLENS_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def retries(monkeypatch: pytest.MonkeyPatch) -> transfer.Retries:
    """Downloads are tried twice, a hundredth of a second later; tests of more attempts say so."""
    made = transfer.Retries(attempts=2, first=0.01, longest=0.05, obeyed=2.0)
    monkeypatch.setattr(transfer, "RETRIES", made)
    return made


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a source with `tmp_path` as the catalog's folder."""

    def call(source: str | Path, **options: object) -> LoadedModel:
        entry = {key: options.pop(key) for key in ("mean", "std") if key in options}
        return load_model(Entry(model_id="m", source=str(source), **entry), tmp_path, **options)  # type: ignore[arg-type]

    return call


@pytest.fixture
def network() -> nn.Module:
    """Two convolutions with normalisation whose statistics are not those of a fresh layer."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )
    norm = made[1]
    assert isinstance(norm, nn.BatchNorm2d)
    torch.nn.init.normal_(norm.weight)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return made.eval()
