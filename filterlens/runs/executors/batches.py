"""Jobs in batches: small ones several at a time, so that sending them costs less than doing them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

__all__ = ["Batches"]

_SECONDS: Final = 2.0  # that a batch is to take
_MOST: Final = 200  # jobs of one


class Batches:
    """Numbers of jobs that are not yet given out.

    A batch is as large as fits into two seconds, by the time that jobs have taken so far: the first ones are single.

    Parameters
    ----------
    n
        How many jobs there are.
    """

    def __init__(self, n: int) -> None:
        self._waiting = deque(range(n))
        self._again: deque[list[int]] = deque()
        self._done, self._seconds = 0, 0.0

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._waiting) + sum(map(len, self._again))

    def take(self, at_once: int) -> list[int]:
        """Return the next batch, never more than leaves work for the others.

        Parameters
        ----------
        at_once
            How many batches are done together.

        Raises
        ------
        IndexError
            None waits.
        """
        if self._again:
            return self._again.popleft()
        fair = math.ceil(len(self._waiting) / at_once)
        fits = int(_SECONDS * self._done / max(self._seconds, 1e-9)) if self._done else 1
        size = max(1, min(fair, fits, _MOST))
        return [self._waiting.popleft() for _ in range(min(size, len(self._waiting)) or 1)]

    def took(self, n: int, seconds: float) -> None:
        """Say how long a batch took.

        Parameters
        ----------
        n
            Its jobs.
        seconds
            All of them together.
        """
        self._done += n
        self._seconds += seconds

    def split(self, numbers: Sequence[int]) -> None:
        """Take a batch back that was lost: it is given out in parts, in case that one of its jobs is the cause.

        A part that is lost is split again: of n jobs, one that ends its worker is alone after some 2 √n batches.
        """
        size = math.isqrt(len(numbers) - 1) if len(numbers) > 1 else 1
        self._again.extend(list(numbers[start : start + size]) for start in range(0, len(numbers), size))
