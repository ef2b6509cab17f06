"""Gradient attacks: one projected-gradient loop that moves inputs, latents and weights.

`ascend` is the loop. What it updates is a `Variable`: `Perturbed` holds inputs or latents, each in a ball around its
own centre and in a box; `Weights` holds a model's parameters, each tensor in a ball relative to its own norm. `attack`
keeps the best point of each example, `last_iterate` returns the last iterate and scores nothing twice (the inner loop
of adversarial training), `pgd` is `attack` on a model's images that leaves the model exactly as it was, `apgd` the same
with a step that adapts.
"""

from __future__ import annotations

from filterlens.attacks.adaptive import AdaptivePerturbed
from filterlens.attacks.ball import Ball, Norm, random_points
from filterlens.attacks.gradient import Attacked, Forward, Loss, apgd, attack, cross_entropy, last_iterate, pgd
from filterlens.attacks.loop import Variable, ascend
from filterlens.attacks.points import Box, Perturbed, Rule
from filterlens.attacks.preserve import preserved
from filterlens.attacks.weights import Weights

__all__ = [
    "AdaptivePerturbed",
    "Attacked",
    "Ball",
    "Box",
    "Forward",
    "Loss",
    "Norm",
    "Perturbed",
    "Rule",
    "Variable",
    "Weights",
    "apgd",
    "ascend",
    "attack",
    "cross_entropy",
    "last_iterate",
    "pgd",
    "preserved",
    "random_points",
]
