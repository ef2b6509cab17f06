"""Filter quality while a model trains: weights only, no images, nothing written."""

from __future__ import annotations

import math

from torch import nn

from filterlens.analyzers.filters import LayerScores, score_layer
from filterlens.errors import InputError, NonFiniteWeightError
from filterlens.extractors.filters import parse_kernel
from filterlens.training.reading import Reading

__all__ = ["FilterMonitor"]

METRICS = ("sparsity", "variance_entropy", "orthogonality")


class FilterMonitor:
    """Score a model's convolutions each time it is called, typically after an epoch.

    Parameters
    ----------
    model
        Whose `Conv2d` layers are scored.
    kernel
        `3x3`, another `k x k`, or `all` kernels larger than 1x1.

    Raises
    ------
    InputError
        No convolution has such a kernel.

    Notes
    -----
    A layer that holds NaN or Inf has NaN for every score and stays out of the model's mean.

    Examples
    --------
    >>> reading = FilterMonitor(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)))()
    >>> list(reading.layers), sorted(reading.model)
    (['0', '2'], ['orthogonality', 'sparsity', 'variance_entropy'])
    """

    def __init__(self, model: nn.Module, *, kernel: str = "3x3") -> None:
        wanted = parse_kernel(kernel)
        self._layers = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d) and wanted((module.weight.shape[2], module.weight.shape[3]))
        }
        if not self._layers:
            raise InputError(f"{type(model).__name__} has no convolution with a kernel of {kernel}: try kernel='all'")

    def __call__(self) -> Reading:
        """Measure now; the model's means are weighted as in the paper."""
        scores: dict[str, LayerScores | None] = {}
        for name, module in self._layers.items():
            try:
                scores[name] = score_layer(module.weight.detach().cpu().float())
            except NonFiniteWeightError:
                scores[name] = None
        layers = {
            name: {metric: float("nan") if layer is None else float(getattr(layer, metric)) for metric in METRICS}
            for name, layer in scores.items()
        }
        finite = [layer for layer in scores.values() if layer is not None]
        return Reading({metric: _mean(finite, metric) for metric in METRICS}, layers)


def _mean(layers: list[LayerScores], metric: str) -> float:
    pairs = [(float(getattr(layer, metric)), layer.weight(metric)) for layer in layers]
    known = [(value, weight) for value, weight in pairs if math.isfinite(value) and weight > 0]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else float("nan")
