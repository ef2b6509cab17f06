"""The corruption lens's extractor: what a model predicts under every corruption and severity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from filterlens.attacks.evaluation import Running, running
from filterlens.errors import InputError
from filterlens.inputs.corruptions import SEVERITIES, Corrupted, corrupted_images
from filterlens.lens import ExtractContext
from filterlens.lenses.corruption.options import CorruptionOptions

__all__ = ["extract"]


def extract(context: ExtractContext[CorruptionOptions]) -> None:
    """Write a model's predictions on clean images, and on images under every corruption and severity.

    Parameters
    ----------
    context
        The model must run. The group is filled with `labels` and `predictions_clean` (n,), `labels_corrupted` (m,) and
        `predictions` (corruptions, 5, m), classes as int32; −1 where logits are not finite.

    Raises
    ------
    InputError
        The images do not suit the model, or the folder of corrupted images cannot be used.
    LensSkipped
        There are only weights.
    """
    options, settings, group = context.options, context.settings, context.group
    with running(
        context.model, context.images, settings, lens="corruption", bf16=False, progress=lambda *_: None
    ) as runner:
        images = runner.images
        corrupted = corrupted_images(images, options.corrupted, seed=settings.seed)
        _check_labels(runner, corrupted)
        size = settings.batch_size
        clean = _predict(runner, images.pixels.__getitem__, n=len(images), size=size)
        found = np.empty((len(corrupted.corruptions), SEVERITIES, len(corrupted.labels)), dtype=np.int32)
        for place in range(found[..., 0].size):
            which, severity = divmod(place, SEVERITIES)
            read = _reader(corrupted, corrupted.corruptions[which], severity + 1)
            found[which, severity] = _predict(runner, read, n=len(corrupted.labels), size=size)
            context.progress(place + 1, found[..., 0].size)
    group.write("labels", images.labels)
    group.write("predictions_clean", clean)
    group.write("labels_corrupted", corrupted.labels)
    group.write("predictions", found, compression="gzip")
    group.set_attributes(
        corruptions=",".join(corrupted.corruptions),
        source=corrupted.said,
        imagenet=context.entry.dataset == "imagenet",
        images=len(corrupted.labels),
        seed=settings.seed,
        fast=options.is_fast,
        data=images.name,
        data_sha256=images.digest,
    )


def _check_labels(runner: Running, corrupted: Corrupted) -> None:
    with torch.no_grad():
        classes = runner(next(runner.batches()).pixels[:1]).shape[1]
    if (highest := int(corrupted.labels.max())) >= classes:
        raise InputError(
            f"the corrupted images have labels up to {highest} but the model has {classes} classes: give the corrupted "
            "version of the data set that it was trained for with --corrupted"
        )


def _reader(corrupted: Corrupted, name: str, severity: int) -> Callable[[slice], NDArray[np.float32]]:
    """Return what reads rows of one corruption as pixels in [0, 1], shape (b, channels, height, width)."""

    def read(rows: slice) -> NDArray[np.float32]:
        levels = corrupted.read(name, severity, rows).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(levels, dtype=np.float32) / np.float32(255)

    return read


def _predict(runner: Running, read: Callable[[slice], NDArray[np.float32]], *, n: int, size: int) -> NDArray[np.int32]:
    """Predicted classes of n images, read in batches, shape (n,)."""
    found = np.empty(n, dtype=np.int32)
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        found[rows] = runner.classes(torch.from_numpy(read(rows)).to(runner.device))
    return found
