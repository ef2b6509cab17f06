"""A third-party lens: are a layer's weights heavy-tailed?"""

from __future__ import annotations

from filterlens.errors import LensSkipped
from filterlens.lens import Lens
from filterlens.score import Score


def extract(model, entry, images, settings, group, progress):
    """Store every convolution's weights."""
    layers = {name: weight for name, weight in model.weights.items() if weight.ndim == 4}
    if not layers:
        raise LensSkipped("the model has no convolution")
    for number, (name, weight) in enumerate(layers.items(), start=1):
        group.write(name.removesuffix(".weight"), weight.float().numpy())
        progress(number, len(layers))


def analyze(group):
    """Score every stored layer."""
    for name in group.names():
        weight = group.read(name).ravel()
        centred = weight - weight.mean()
        kurtosis = (centred**4).mean() / (centred**2).mean() ** 2
        yield {"metric": "kurtosis", "layer": name, "value": float(kurtosis), "weight": float(weight.size)}


LENS = Lens(
    name="kurtosis",
    extract="kurtosis_lens:extract",
    analyze="kurtosis_lens:analyze",
    scores=(
        Score(
            name="kurtosis",
            lens="kurtosis",
            title="kurtosis",
            summary="How heavy-tailed a layer's weights are; 3 for normal weights.",
            formula="E (w - E w)^4 / (E (w - E w)^2)^2",
            reference="",
            bounds=(1, None),
        ),
    ),
)
