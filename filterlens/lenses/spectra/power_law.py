"""Power-law fit of the tail of a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST", "PowerLaw", "fit_power_law"]

#: fewer values have no fit; Clauset2009 asks for 50 to trust one
FEWEST: Final = 20
_BLOCK: Final = 1 << 20  # entries of the table of distances in memory at once


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """A fit p(x) ∝ x^(−α) for x ≥ xmin.

    Parameters
    ----------
    alpha
        Exponent.
    distance
        Kolmogorov-Smirnov distance between the tail and the fit, in [0, 1].
    xmin
        Where the tail begins.
    n_tail
        Values in it.
    """

    alpha: float
    distance: float
    xmin: float
    n_tail: int


def fit_power_law(values: NDArray[np.floating]) -> PowerLaw:
    """Fit a power law to the tail of a sample.

    For every candidate xmin but the largest value, the maximum-likelihood exponent is α = 1 + n / Σ log(x_i / xmin)
    over the n values x_i ≥ xmin; the candidate is taken whose tail lies nearest its fit in Kolmogorov-Smirnov distance,
    max_i |1 − (x_i / xmin)^(1 − α) − i / n|, i = 0 … n − 1.

    Parameters
    ----------
    values
        Shape (n,); those that are not positive are left out.

    Returns
    -------
        All NaN for fewer than 20 values, or where they are all equal.

    References
    ----------
    Clauset2009, equations 3.1 and 3.9; WeightWatcher computes the same distance.

    Examples
    --------
    >>> round(fit_power_law((1 - (np.arange(5000) + 0.5) / 5000) ** -0.5).alpha, 1)
    3.0
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    logs = np.log(x[x > 0])
    n = len(logs)
    if n < FEWEST:
        return PowerLaw(math.nan, math.nan, math.nan, 0)
    sizes = n - np.arange(n - 1)
    sums = np.cumsum(logs[::-1])[::-1][:-1] - sizes * logs[:-1]  # Σ log(x_i / xmin) of each candidate
    # rounding of equal values is no spread
    slope = np.divide(sizes, sums, out=np.full(n - 1, np.nan), where=sums > 1e-12 * sizes)
    distances = np.full(n - 1, np.inf)
    step = max(1, _BLOCK // n)
    for start in range(0, n - 1, step):
        rows = np.arange(start, min(start + step, n - 1))
        columns = np.arange(start, n)
        beyond = columns >= rows[:, None]
        above = np.where(beyond, logs[columns] - logs[rows, None], 0)
        cdf = -np.expm1(-slope[rows, None] * above)
        empirical = np.where(beyond, columns - rows[:, None], 0) / sizes[rows, None]
        distances[rows] = np.abs(cdf - empirical).max(axis=1)
    distances[~np.isfinite(distances)] = np.inf
    best = int(np.argmin(distances))
    if not math.isfinite(distances[best]):
        return PowerLaw(math.nan, math.nan, math.nan, 0)
    return PowerLaw(1 + float(slope[best]), float(distances[best]), math.exp(logs[best]), int(sizes[best]))
