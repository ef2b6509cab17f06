"""Gradient attacks: one projected-gradient loop that moves inputs, latents and weights.

`ascend` is the loop. What moves is a `Player`: `Points` are inputs or latents, each in a ball around its own centre
and in a box; `Weights` are a model's parameters, each tensor in a ball relative to its own norm. `attack` keeps the
best point of each example, `climb` returns the last iterate and scores nothing twice (the inner loop of adversarial
training), `pgd` is `attack` on a model's images that leaves the model exactly as it was.
"""

from __future__ import annotations

from filterlens.attacks.ball import Ball, Norm, random_points
from filterlens.attacks.gradient import Attacked, Forward, Loss, attack, climb, cross_entropy, pgd
from filterlens.attacks.loop import Player, ascend
from filterlens.attacks.points import Box, Points, Rule
from filterlens.attacks.preserve import preserved
from filterlens.attacks.weights import Weights

__all__ = [
    "Attacked",
    "Ball",
    "Box",
    "Forward",
    "Loss",
    "Norm",
    "Player",
    "Points",
    "Rule",
    "Weights",
    "ascend",
    "attack",
    "climb",
    "cross_entropy",
    "pgd",
    "preserved",
    "random_points",
]
