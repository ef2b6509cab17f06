"""The frequency lens: scores of every convolution from its power spectrum."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup, number
from filterlens.errors import DumpError
from filterlens.lens import score_rows
from filterlens.lenses.frequency.scores import FilterSpectrum
from filterlens.lenses.kernels import kernel_note, main_kernel

__all__ = ["analyze", "layer_rows"]


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score every convolution of a dump.

    Parameters
    ----------
    group
        The dump's `/frequency`: the power spectrum of one convolution an array.

    Returns
    -------
        Rows of the score table: one a layer and score. Only filters of one size have a weight in the model's mean: 3x3,
        or the network's own where it has none.

    Raises
    ------
    DumpError
        An array or attribute is not what the extractor writes.
    """
    attributes = {name: group.attributes_of(name) for name in group.names()}
    main = main_kernel(_kernel(found) for found in attributes.values())
    return [row for name, found in attributes.items() for row in layer_rows(name, group.read(name), found, main)]


def layer_rows(
    name: str, power: NDArray[Any], attributes: Mapping[str, Any], main: tuple[int, int]
) -> list[dict[str, object]]:
    """Rows of one convolution; NaN with the reason in `note` where it has no score.

    Parameters
    ----------
    name
        The layer's.
    power
        Its filters' power spectrum, shape (N_h, N_w).
    attributes
        As the extractor writes them.
    main
        Size of the filters that model means are of.
    """
    n_filters = number(attributes, "n_filters")
    if power.ndim != 2 or not (n_filters >= 1 and power.size):
        raise DumpError(f"an array of shape {power.shape} is no power spectrum of {n_filters:g} filters: extract again")
    spectrum = FilterSpectrum(np.asarray(power, dtype=np.float64), int(n_filters))
    notes = list(kernel_note(main))
    if attributes.get("depth_from") == "keys":
        notes.insert(0, "depth is the order of the state dict's keys")
    if not math.isfinite(spectrum.total):
        notes.insert(0, "skipped: holds NaN or Inf")
    depth = number(attributes, "conv_depth")
    common: dict[str, object] = {
        "layer": name,
        "kind": str(attributes.get("kernel")),
        "conv_depth": depth if depth >= 0 else math.nan,
        "conv_depth_norm": number(attributes, "conv_depth_norm"),
        "note": "; ".join(notes),
    }
    counts = _kernel(attributes) == main
    return [{**common, **row, "weight": row["weight"] if counts else 0.0} for row in score_rows("frequency", spectrum)]


def _kernel(attributes: Mapping[str, Any]) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", str(attributes.get("kernel")))
    if found is None:
        raise DumpError(f"its kernel was expected to be a size, got {attributes.get('kernel')!r:.40}: extract again")
    return int(found[1]), int(found[2])
