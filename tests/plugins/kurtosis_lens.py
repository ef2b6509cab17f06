"""A third-party lens: are a layer's weights heavy-tailed?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from filterlens.dumps import DumpGroup
from filterlens.errors import LensSkipped
from filterlens.lens import ExtractContext, Lens, Options, option, score_rows
from filterlens.score import score


@dataclass(frozen=True, slots=True, kw_only=True)
class KurtosisOptions(Options):
    """Each field is an option of the command line too."""

    largest_share: float = option(default=1.0, help="Share of each layer's weights to take, the largest ones.")


@dataclass(frozen=True)
class Layer:
    """What the scores are computed from."""

    weight: np.ndarray

    @property
    def size(self) -> float:
        return float(self.weight.size)


@score(
    lens="kurtosis",
    title="Kurtosis",
    formula="E (w − E w)⁴ / (E (w − E w)²)²",
    reference="",
    bounds=(1, None),
    chance="3: normal weights",
    weight="size",
    by_depth=True,
)
def kurtosis(layer: Layer) -> float:
    """How heavy-tailed a layer's weights are."""
    centred = layer.weight - layer.weight.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def _layers(weights: Mapping[str, torch.Tensor], options: KurtosisOptions) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, weight in weights.items():
        if weight.ndim == 4:
            flat = weight.detach().float().cpu().numpy().ravel()
            kept = np.argsort(-abs(flat))[: max(1, round(options.largest_share * flat.size))]
            yield name.removesuffix(".weight"), flat[kept]


def extract(context: ExtractContext[KurtosisOptions]) -> None:
    """Model → arrays in the dump."""
    layers = dict(_layers(context.model.weights, context.options))
    if not layers:
        raise LensSkipped("the model has no convolution")
    for number, (name, weight) in enumerate(layers.items(), start=1):
        context.group.write(name, weight)
        context.progress(number, len(layers))


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Arrays → rows of the score table."""
    layers = ((name, group.read(name)) for name in group.names())
    return [{"layer": name} | row for name, weight in layers for row in score_rows("kurtosis", Layer(weight))]


def measure(network: nn.Module, images: object, options: KurtosisOptions) -> Iterator[dict[str, object]]:
    """The same of a network in memory: for `filterlens.measure` and monitors."""
    for name, weight in _layers(network.state_dict(), options):
        for row in score_rows("kurtosis", Layer(weight)):
            yield {"layer": name} | row


LENS = Lens(
    name="kurtosis",
    summary="How heavy-tailed a layer's weights are.",
    options=KurtosisOptions,
    extract="kurtosis_lens:extract",
    analyze="kurtosis_lens:analyze",
    measure="kurtosis_lens:measure",
    figures="kurtosis_figures:FIGURES",
    attack_free=True,
)
