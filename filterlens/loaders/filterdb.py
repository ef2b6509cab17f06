"""`filterdb:PATH#NUMBER`: a model of a CNN-Filter-DB data set, whose weights are all that is left of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from filterlens.errors import CheckpointError
from filterlens.filterdb.database import FilterDatabase, Model
from filterlens.loaders.model import LoadedModel
from filterlens.loaders.registry import Request

__all__ = ["load"]


def load(request: Request) -> LoadedModel:
    """Read the 3x3 convolutions of one model, named `layer` and their `layer_id`.

    Raises
    ------
    CheckpointError
        The file is no such data set, is damaged, or has no model of that number.
    UnsafeCheckpointError
        Its table is a pickle that is more than a table; it was not run.
    """
    place, _, number = request.rest.rpartition("#")
    if not place or not (number.isdecimal() and len(number) <= 18):
        raise CheckpointError(
            f"{request.entry.source!r} names no model: write filterdb:PATH#NUMBER, or run `filterlens import filterdb`"
        )
    path = request.folder / place
    models = _models(path, _changed(path))
    model = next((model for model in models if model.number == int(number)), None)
    if model is None:
        raise CheckpointError(f"{path} holds no model of number {number}")
    names = {f"layer{layer.layer_id}": layer for layer in model.layers}
    with FilterDatabase(path, models) as database:
        weights = {f"{name}.weight": torch.from_numpy(database.weight(layer)) for name, layer in names.items()}
    return LoadedModel(
        model_id=request.entry.model_id,
        source=request.entry.source,
        sha256="",  # of many gigabytes for each of its models: the file's size and time decide instead
        weights=weights,
        depths={name: (layer.conv_depth, layer.conv_depth_norm) for name, layer in names.items()},
        notes=(
            f"3x3 convolutions only, kept as {database.dtype}",
            "the data set was extracted from ONNX files, in which BatchNorm is folded into convolutions",
        ),
    )


def _changed(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1)
def _models(path: Path, _changed: tuple[int, int]) -> tuple[Model, ...]:
    """Read and check the table once for all models of a file."""
    with FilterDatabase(path) as database:
        return database.models
