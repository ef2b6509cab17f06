"""The scores' arithmetic as functions of weights, maps, logits, losses and distances: no model, no file, no state.

Names are imported when they are first used: this module loads no heavy library.

Examples
--------
>>> import torch
>>> from filterlens.functional import sparsity
>>> sparsity(torch.zeros(8, 3, 3, 3))
1.0
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filterlens.lenses.downsampling.aliasing import alias_energy, aliasing, aliasing_relative
    from filterlens.lenses.downsampling.figure_spectra import alias_free, power_spectra, radial_mean
    from filterlens.lenses.filters.chance import (
        orthogonality_by_chance,
        orthogonality_z,
        sparsity_by_chance,
        sparsity_z,
        variance_entropy_by_chance,
        variance_entropy_z,
    )
    from filterlens.lenses.filters.moments import shift
    from filterlens.lenses.filters.orthogonality import orthogonality
    from filterlens.lenses.filters.sparsity import sparsity
    from filterlens.lenses.filters.variance_entropy import (
        variance_entropy,
        variance_entropy_raw,
        variance_entropy_raw_normalized,
    )
    from filterlens.lenses.flatness.scores import average_flatness, class_flatness, worst_flatness
    from filterlens.lenses.manifold.scores import distance_ratio, separation_auc, success_rate
    from filterlens.lenses.proportion import proportion_interval
    from filterlens.lenses.robustness.metrics import (
        accuracy,
        confidence,
        cross_entropy,
        expected_calibration_error,
        overconfidence,
        reliability,
    )

__all__ = [
    "accuracy",
    "alias_energy",
    "alias_free",
    "aliasing",
    "aliasing_relative",
    "average_flatness",
    "class_flatness",
    "confidence",
    "cross_entropy",
    "distance_ratio",
    "expected_calibration_error",
    "orthogonality",
    "orthogonality_by_chance",
    "orthogonality_z",
    "overconfidence",
    "power_spectra",
    "proportion_interval",
    "radial_mean",
    "reliability",
    "separation_auc",
    "shift",
    "sparsity",
    "sparsity_by_chance",
    "sparsity_z",
    "success_rate",
    "variance_entropy",
    "variance_entropy_by_chance",
    "variance_entropy_raw",
    "variance_entropy_raw_normalized",
    "variance_entropy_z",
    "worst_flatness",
]

_HOMES = {
    "filters.sparsity": ("sparsity",),
    "filters.variance_entropy": ("variance_entropy", "variance_entropy_raw", "variance_entropy_raw_normalized"),
    "filters.orthogonality": ("orthogonality",),
    "filters.chance": (
        "orthogonality_by_chance", "orthogonality_z", "sparsity_by_chance", "sparsity_z", "variance_entropy_by_chance",
        "variance_entropy_z",
    ),
    "filters.moments": ("shift",),
    "downsampling.aliasing": ("alias_energy", "aliasing", "aliasing_relative"),
    "downsampling.figure_spectra": ("alias_free", "power_spectra", "radial_mean"),
    "robustness.metrics": (
        "accuracy", "confidence", "cross_entropy", "expected_calibration_error", "overconfidence", "reliability",
    ),
    "flatness.scores": ("average_flatness", "class_flatness", "worst_flatness"),
    "manifold.scores": ("distance_ratio", "separation_auc", "success_rate"),
    "proportion": ("proportion_interval",),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'filterlens.functional' has no attribute {name!r}")
    return getattr(import_module(f"filterlens.lenses.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
