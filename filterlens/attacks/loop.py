"""The loop of every attack, and the variables that it updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["Variable", "ascend"]


class Variable(Protocol):
    """What a gradient loop moves."""

    def move(self) -> None:
        """Take one step along the gradient that was left behind, and project."""


def ascend(
    score: Callable[[bool], bool], variables: Sequence[Variable], *, steps: int, score_last: bool = True
) -> None:
    """Score the variables' place, move all of them, and so on: the loop of every attack.

    Parameters
    ----------
    score
        Called with whether gradients are wanted; leaves them with the variables and keeps what it wants of the place.
        Returns True to stop.
    variables
        Moved together.
    steps
        How many times they move.
    score_last
        Whether the place after the last move is scored too (without gradients).
    """
    for _ in range(steps):
        if score(True):  # noqa: FBT003 - a callback's only argument
            return
        for variable in variables:
            variable.move()
    if score_last:
        score(False)  # noqa: FBT003
