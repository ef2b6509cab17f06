"""Training: recipes, monitors that watch it, and layers that alias less.

Public names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filterlens.loaders.alias_free import AliasFreeDownsampling, without_aliasing
    from filterlens.loaders.architectures import build
    from filterlens.training.collapse import CollapseMonitor
    from filterlens.training.early_stopping import CollapseStopping, EarlyStopping
    from filterlens.training.logs import csv_log, lightning_callback, tensorboard_log, wandb_log
    from filterlens.training.loop import train
    from filterlens.training.monitor import Monitor
    from filterlens.training.plan import TrainingPlan
    from filterlens.training.reading import Reading
    from filterlens.training.zoo import train_zoo

__all__ = [
    "AliasFreeDownsampling",
    "CollapseMonitor",
    "CollapseStopping",
    "EarlyStopping",
    "Monitor",
    "Reading",
    "TrainingPlan",
    "build",
    "csv_log",
    "lightning_callback",
    "tensorboard_log",
    "train",
    "train_zoo",
    "wandb_log",
    "without_aliasing",
]

_HOME = {
    "AliasFreeDownsampling": "filterlens.loaders.alias_free",
    "CollapseMonitor": "filterlens.training.collapse",
    "CollapseStopping": "filterlens.training.early_stopping",
    "EarlyStopping": "filterlens.training.early_stopping",
    "Monitor": "filterlens.training.monitor",
    "TrainingPlan": "filterlens.training.plan",
    "Reading": "filterlens.training.reading",
    "build": "filterlens.loaders.architectures",
    "csv_log": "filterlens.training.logs",
    "lightning_callback": "filterlens.training.logs",
    "tensorboard_log": "filterlens.training.logs",
    "train": "filterlens.training.loop",
    "train_zoo": "filterlens.training.zoo",
    "wandb_log": "filterlens.training.logs",
    "without_aliasing": "filterlens.loaders.alias_free",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'filterlens.training' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
