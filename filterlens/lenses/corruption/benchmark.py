"""Kinds of common corruptions, and the errors that scores are held against, as published [Hendrycks2019]_.

Analyzers read dumps without `filterlens.inputs`; a test holds these names to those of `filterlens.inputs.corruptions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["ALEXNET_ERRORS", "CORRUPTIONS", "GROUPS", "SEVERITIES"]

SEVERITIES: Final = 5
#: The paper's four kinds, in its order.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
CORRUPTIONS: Final = tuple(name for names in GROUPS.values() for name in names)

#: Of AlexNet on ImageNet-C, mean over severities: what mCE is divided by (the paper's table 1 has them rounded).
ALEXNET_ERRORS: Final[Mapping[str, float]] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
