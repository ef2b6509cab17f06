"""The perturbation lens: from spectra and predictions to rows of the score table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.lens import score_rows
from filterlens.lenses.perturbation.scores import Frequencies

__all__ = ["analyze", "read_frequencies"]


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score one model's spectra and predictions.

    Parameters
    ----------
    group
        What `filterlens.lenses.perturbation.extractor.extract` wrote.

    Returns
    -------
        Rows of the whole model, and `band_noise_accuracy` of each band (kind `band`), which weigh nothing in the
        model's mean.

    Raises
    ------
    DumpError
        Arrays do not belong together.
    """
    return list(_rows(group))


def _rows(group: DumpGroup) -> Iterator[dict[str, object]]:
    found, note = read_frequencies(group), _note(group.attributes)
    for row in score_rows("perturbation", found):
        yield {**row, "note": note}
    for low, high, accuracy in zip(found.edges[:-1], found.edges[1:], found.accuracy, strict=True):
        facts = {"layer": f"{low:.3f} to {high:.3f} cycles a pixel", "kind": "band", "weight": 0.0, "note": note}
        yield {"metric": "band_noise_accuracy", "value": float(accuracy), **facts}


def read_frequencies(group: DumpGroup) -> Frequencies:
    """Read a dump's arrays.

    Raises
    ------
    DumpError
        They do not belong together.
    """
    labels, edges, noisy = group.read("labels"), group.read("edges"), group.read("predictions_noise")
    clean = group.read("predictions_clean")
    powers = {name: _power(group, name) for name in ("image_power", "perturbation_power") if name in group}
    rising = edges.ndim == 1 and len(edges) >= 2 and bool((np.diff(edges) > 0).all()) and edges[0] > 0
    if not rising or noisy.ndim != 3 or noisy.shape[1:] != (len(edges) - 1, len(labels)) or clean.shape != labels.shape:
        raise DumpError(
            f"{group.path}: predictions_noise of shape {noisy.shape} do not belong to {len(labels)} labels and "
            f"{edges.size} ends of bands; extract again"
        )
    return Frequencies(
        clean=float((clean == labels).mean()) if len(labels) else math.nan,
        edges=edges.astype(np.float64),
        accuracy=(noisy == labels).mean(axis=(0, 2)),
        image_power=powers["image_power"],
        perturbation_power=powers.get("perturbation_power"),
    )


def _power(group: DumpGroup, name: str) -> NDArray[np.float64]:
    found = group.read(name)
    if found.ndim != 2:
        raise DumpError(f"{group.path}: {name} of shape {found.shape} is no power spectrum; extract again")
    return found.astype(np.float64)


def _note(found: dict[str, Any]) -> str:
    parts = [f"{found.get('images', '?')} images", f"noise of {found.get('noise_rms')} x ½, 1 and 2"]
    ball = f"{found.get('attack')}, {found.get('norm')} ε = {float(found.get('eps', math.nan)):.5g}"
    parts.append(ball if found.get("attack") else "no attack: the catalog gives no ball")
    return ", ".join(parts + [name for name in ("fast",) if found.get(name)])
