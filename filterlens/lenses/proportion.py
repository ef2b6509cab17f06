"""Confidence interval of a proportion."""

from __future__ import annotations

import math

from filterlens.errors import InputError

__all__ = ["proportion_interval"]


def proportion_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a proportion.

    Parameters
    ----------
    successes
        Observed, from 0 to n.
    n
        Trials.

    Returns
    -------
        Lower and upper end, in [0, 1]; NaN where n is 0.

    Raises
    ------
    InputError
        The counts are no counts.

    Examples
    --------
    >>> low, high = proportion_interval(50, 100)
    >>> round(low, 4), round(high, 4)
    (0.4038, 0.5962)
    """
    if not 0 <= successes <= n:
        raise InputError(f"a proportion has between 0 and n successes, got {successes} of {n}")
    if n == 0:
        return math.nan, math.nan
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)
