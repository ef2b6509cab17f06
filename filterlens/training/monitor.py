"""Scores of a lens while a model trains: no attack, nothing written."""

from __future__ import annotations

import math
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from filterlens.errors import InputError
from filterlens.lens import all_scores, get_lens, get_score, options_of
from filterlens.training.reading import Reading

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Monitor"]


class Monitor:
    """Measure a model each time it is called, typically after an epoch.

    Parameters
    ----------
    model
        The network as it is trained.
    images
        A fixed batch as the model takes it, shape (n, channels, height, width), for lenses that look at feature maps;
        64 images are plenty. None for lenses of weights.
    lens
        Whose scores; where empty, the lens of `score`.
    score
        The metric that `score()` returns; empty where it is not called.
    options
        Options of the lens, such as `kernel="all"`.

    Raises
    ------
    InputError
        There is no such lens or score, or the lens cannot measure a network in memory.

    Notes
    -----
    The model is in eval mode while it is measured, without gradients; each module's mode, the BatchNorm statistics and
    the random state are as before afterwards. A layer that holds NaN or Inf has NaN for every score and stays out of
    the model's mean.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    >>> reading = Monitor(model, torch.rand(4, 3, 16, 16), score="aliasing_relative")()
    >>> list(reading.layers), 0 <= reading.model["alias_energy"] <= 1
    (['0'], True)
    """

    def __init__(
        self, model: nn.Module, images: Tensor | None = None, *, lens: str = "", score: str = "", **options: object
    ) -> None:
        if not lens and not score:
            raise InputError("a monitor needs the name of a lens or of a score")
        self._lens = get_lens(lens or get_score(score).lens)
        if not self._lens.measure:
            raise InputError(f"the {self._lens.name} lens cannot measure a network in memory: audit its checkpoints")
        if score and get_score(score).lens != self._lens.name:
            raise InputError(f"{score!r} is no score of the {self._lens.name} lens")
        self.model, self.images, self._score = model, images, score
        self._options = options_of(self._lens, options)

    def __call__(self) -> Reading:
        """Measure now; the model's means are weighted as in a report.

        Raises
        ------
        InputError, LensSkipped
            The model has no layer for the lens, or does not take the images.
        """
        shown = {name for name, found in all_scores().items() if not found.auxiliary}
        layers: dict[str, dict[str, float]] = {}
        sums: dict[str, tuple[float, float]] = {}
        for row in resolve_name(self._lens.measure)(self.model, self.images, self._options):
            metric, value, weight = str(row["metric"]), float(row["value"]), float(row["weight"])
            if metric not in shown:
                continue
            layers.setdefault(str(row["layer"]), {})[metric] = value
            total, mass = sums.setdefault(metric, (0.0, 0.0))
            if math.isfinite(value) and weight > 0:
                sums[metric] = (total + weight * value, mass + weight)
        means = {metric: total / mass if mass else math.nan for metric, (total, mass) in sums.items()}
        return Reading(means, layers)

    def score(self) -> float:
        """Measure now and return the model's mean of the chosen metric: what `EarlyStopping.step` takes.

        Raises
        ------
        InputError
            No score was named.
        """
        if not self._score:
            raise InputError("name the score when the monitor is made: Monitor(model, images, score=…)")
        return self().model[self._score]
