"""Confidence intervals of shares."""

from __future__ import annotations

import math

from filterlens.errors import InputError

__all__ = ["wilson_interval"]

_Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share.

    Parameters
    ----------
    successes, n
        How many of how many.

    Returns
    -------
        Lower and upper end, in [0, 1]; NaN for n = 0.

    Raises
    ------
    InputError
        More successes than trials, or a negative number.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.

    Examples
    --------
    >>> [round(end, 4) for end in wilson_interval(5, 10)]
    [0.2366, 0.7634]
    """
    if not 0 <= successes <= n:
        raise InputError(f"a share needs 0 ≤ successes ≤ n, got {successes} of {n}")
    if n == 0:
        return math.nan, math.nan
    share = successes / n
    scale = 1 + _Z**2 / n
    centre = share + _Z**2 / (2 * n)
    spread = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)
