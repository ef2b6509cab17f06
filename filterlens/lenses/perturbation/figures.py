"""Figures of the perturbation lens: spectra of attacks, and accuracy under noise of each band."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.lenses.perturbation.analyzer import read_frequencies
from filterlens.lenses.perturbation.bands import band_of
from filterlens.report.comparison import sides_of_pairs
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.marks import MARKS
from filterlens.report.style import new_figure, plain_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FIGURES", "draw_perturbations"]

_SIDES = ("normal", "robust", "unpaired")


def draw_perturbations(run: RunData) -> Drawing | None:
    """Draw power of attacks and images by frequency (left), and accuracy under noise of each band (right)."""
    data = _curves(run)
    if data.empty:
        return None
    figure = new_figure(2.7)
    left, right = figure.subplots(1, 2)
    for side in _SIDES:
        mark = MARKS[side]
        for axis, what in ((left, "attack"), (right, "accuracy")):
            part = data[(data["side"] == side) & (data["what"] == what)]
            _mean_curve(axis, part, mark.colour, mark.line, mark.marker, label=side)
    _mean_curve(left, data[data["what"] == "images"], "black", "-.", "", label="clean images")
    left.set_ylabel("mean power of a frequency,\nrelative to white noise")
    right.set(ylabel="accuracy under noise of the band", ylim=(-0.02, 1.02))
    for axis in (left, right):
        plain_log(axis, "x")
        axis.set_xlabel("frequency (cycles a pixel)")
    plain_log(left, "y")
    left.legend(loc="best")
    counts = data.drop_duplicates("model_id")["side"].value_counts()
    caption = (
        "Left: power of what PGD adds to images and of the images themselves, mean over the frequencies of each "
        "half-octave band; 1 for white noise of the same norm. Right: accuracy under noise of one band, of equal norm "
        "in all bands, mean over three levels. Lines: mean over models; areas: from the lowest to the highest. "
        "Models: " + ", ".join(f"{counts[side]} {side}" for side in _SIDES if side in counts) + "."
    )
    return Drawing(figure, data, caption)


def _mean_curve(axis: Axes, part: pd.DataFrame, colour: str, line: str, marker: str, *, label: str) -> None:
    groups = part.groupby("frequency")["value"]
    if not len(groups):
        return
    means, low, high = groups.mean(), groups.min(), groups.max()
    axis.plot(means.index, means, color=colour, linestyle=line, marker=marker, label=label, clip_on=not marker)
    axis.fill_between(means.index, low, high, color=colour, alpha=0.2, linewidth=0)


def _curves(run: RunData) -> pd.DataFrame:
    """One row a model, curve (`images`, `attack`, `accuracy`) and band: `frequency` is the band's middle."""
    scored = set(run.lens_scores("perturbation")["model_id"])
    sides = sides_of_pairs(run.models[run.models.index.isin(scored)])
    rows: list[dict[str, object]] = []
    for entry in run.catalog:
        if entry.model_id not in scored:
            continue
        with run.dump(entry.model_id) as dump:
            found = read_frequencies(dump.lens("perturbation"))
        curves = {"images": _density(found.image_power), "accuracy": found.accuracy}
        if found.perturbation_power is not None:
            curves["attack"] = _density(found.perturbation_power)
        facts = {"model_id": entry.model_id, "side": sides[entry.model_id]}
        rows += [
            {**facts, "what": what, "frequency": float(2**octave), "value": float(value)}
            for what, values in curves.items()
            for octave, value in zip(found.octaves, values, strict=True)
        ]
    return pd.DataFrame(rows, columns=["model_id", "side", "what", "frequency", "value"])


def _density(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power of a coefficient in each band, relative to the mean over all coefficients but the zero frequency."""
    bands = band_of(*power.shape)
    inside = bands >= 0
    means = np.bincount(bands[inside], power[inside]) / np.bincount(bands[inside])
    return np.asarray(means / power[inside].mean() if power[inside].any() else means, dtype=np.float64)


FIGURES: tuple[Figure, ...] = (
    Figure("perturbation_spectra", "perturbation", "Spectra of attacks, and accuracy under noise", draw_perturbations),
)
