"""Manifolds of images: what an attack stays on or leaves [Stutz2019]_."""

from __future__ import annotations

from filterlens.manifolds.choose import choose_manifold
from filterlens.manifolds.fonts import Fonts
from filterlens.manifolds.learned import Learned, load_learned
from filterlens.manifolds.neighbours import Neighbours
from filterlens.manifolds.protocol import Manifold, Points, distance

__all__ = [
    "Fonts",
    "Learned",
    "Manifold",
    "Neighbours",
    "Points",
    "choose_manifold",
    "distance",
    "load_learned",
]
