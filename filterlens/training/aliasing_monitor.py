"""Aliasing while a model trains: one forward pass over a fixed batch, no attack, nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from filterlens.analyzers.aliasing import KINDS_OF_THE_MEAN, AliasingMeans
from filterlens.errors import InputError
from filterlens.extractors.capture import Downsampling, capture_downsampling
from filterlens.scores import get_score
from filterlens.training.reading import Reading

__all__ = ["AliasingMonitor"]


class AliasingMonitor:
    """Measure a model's aliasing on the same images each time it is called, typically after an epoch.

    Parameters
    ----------
    model
        Takes the images as they are given here.
    images
        A fixed batch as the model takes it, shape (n, channels, height, width); 64 images are plenty.
    score
        The metric that `score()` returns.
    batch_size
        Images in one forward pass.

    Raises
    ------
    InputError
        There are no images, or no such metric.

    Notes
    -----
    The model is in eval mode while it is measured, without gradients; each module's mode, the BatchNorm statistics and
    the random state are as before afterwards.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
    >>> monitor = AliasingMonitor(model, torch.rand(4, 3, 16, 16))
    >>> reading = monitor()
    >>> list(reading.layers), 0 <= reading.model["alias_energy"] <= 1
    (['0'], True)
    """

    def __init__(
        self, model: nn.Module, images: Tensor, *, score: str = "aliasing_relative", batch_size: int = 64
    ) -> None:
        if images.dim() != 4 or len(images) == 0 or batch_size < 1:
            raise InputError(
                f"AliasingMonitor takes images of shape (n, channels, height, width), got {tuple(images.shape)}"
            )
        if get_score(score).lens != "downsampling":
            raise InputError(f"{score!r} is no score of the downsampling lens")
        self.model, self.images, self._score, self._batch_size = model, images, score, batch_size

    def __call__(self) -> Reading:
        """Measure now; the model's mean is over the `main` and `pool` operations.

        Raises
        ------
        InputError
            The model downsamples nowhere, or in 1x1 shortcuts only.
        """
        means: dict[str, AliasingMeans] = {}
        kinds: dict[str, str] = {}

        def receive(found: Downsampling) -> None:
            means.setdefault(found.layer, AliasingMeans()).add(found.dense, stride=found.stride)
            kinds[found.layer] = found.kind

        device = next((p.device for p in self.model.parameters()), self.images.device)
        with _evaluating(self.model), torch.no_grad():
            for batch in torch.split(self.images, self._batch_size):
                with capture_downsampling(self.model, receive):
                    self.model(batch.to(device))
        layers = {layer: mean.values for layer, mean in means.items()}
        counted = [layers[layer] for layer, kind in kinds.items() if kind in KINDS_OF_THE_MEAN]
        if not counted:
            raise InputError(f"{type(self.model).__name__} has no downsampling but 1x1 shortcuts, or none at all")
        return Reading(_mean(counted), layers)

    def score(self) -> float:
        """Measure now and return the model's mean of the chosen metric: what `AliasingEarlyStopping.step` takes."""
        return self().model[self._score]


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {metric: sum(row[metric] for row in rows) / len(rows) for metric in rows[0]}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Set every module to eval mode for the block, and each one back to its own mode after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
