"""How far weights are perturbed, relative to the norm of each tensor, as published [Stutz2021]_."""

from __future__ import annotations

from typing import Final

__all__ = ["ADVERSARIAL_LENGTH", "AVERAGE_RADIUS", "WEIGHT_STEP", "WORST_RADIUS"]

AVERAGE_RADIUS: Final = 0.5  # ξ of the average case
WORST_RADIUS: Final = 0.00075  # ξ of the worst case
WEIGHT_STEP: Final = 0.01
ADVERSARIAL_LENGTH: Final = 0.01  # of the landscape's adversarial direction
