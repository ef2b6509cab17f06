"""Scores of the filters lens."""

from __future__ import annotations

from filterlens.scores.descriptor import Score

__all__ = ["SCORES"]

SCORES: tuple[Score, ...] = ()
