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
_SAMPLE: Final = 32  # values of each tail that bound its distance from below


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

    Notes
    -----
    Not every candidate is compared with its whole tail. The largest deviation at 32 values of a tail is a lower bound
    of its distance; candidates are taken by rising bound until it exceeds the least distance found, which none of the
    others can then reach. The result is that of comparing all, of equal distances the lowest xmin.

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
    rows = np.flatnonzero(np.isfinite(slope))
    sample = sizes[rows, None] * np.arange(_SAMPLE) // _SAMPLE
    bounds = _deviations(logs, slope, rows[:, None], sample).max(axis=1)
    distances = np.full(n - 1, np.inf)
    least = np.inf
    for place in np.argsort(bounds):
        if not bounds[place] <= least:
            break
        row = rows[place]
        distances[row] = _deviations(logs, slope, row, np.arange(sizes[row])).max()
        least = min(least, distances[row])
    best = int(np.argmin(distances))
    if not math.isfinite(distances[best]):
        return PowerLaw(math.nan, math.nan, math.nan, 0)
    return PowerLaw(1 + float(slope[best]), float(distances[best]), math.exp(logs[best]), int(sizes[best]))


def _deviations(
    logs: NDArray[np.float64], slope: NDArray[np.float64], row: NDArray[np.int64], i: NDArray[np.int64]
) -> NDArray[np.float64]:
    """|1 − (x_i / xmin)^(1 − α) − i / n| for the i-th values of the tail that begins at `row`."""
    cdf = -np.expm1(-slope[row] * (logs[row + i] - logs[row]))
    deviations: NDArray[np.float64] = np.abs(cdf - i / (len(logs) - row))
    return deviations
