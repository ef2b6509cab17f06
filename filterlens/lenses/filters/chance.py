"""Where random filters would stand: chance levels and z-scores against them.

Random means independent normal weights of one variance in the layer's own shape. A |z| below about two says that
the score does not tell the layer from its initialisation.
"""

from __future__ import annotations

import csv
import math
from functools import cache, lru_cache
from pathlib import Path

__all__ = [
    "orthogonality_by_chance",
    "orthogonality_z",
    "sparsity_by_chance",
    "sparsity_z",
    "variance_entropy_by_chance",
    "variance_entropy_z",
]


def orthogonality_by_chance(c_out: int, d: int) -> tuple[float, float]:
    """Mean and standard deviation of the orthogonality of c_out random rows of d weights.

    For uniform directions E|cos| = Γ(d/2) / (√π Γ((d+1)/2)) and E cos² = 1/d. Cosines of different pairs are
    independent of each other two by two, also where pairs share a row, so that the variance of their mean is
    2 (1/d − E|cos|²) / (c_out (c_out − 1)).

    Parameters
    ----------
    c_out
        Output channels, at least 2.
    d
        Weights an output channel, c_in / groups · k_h · k_w.

    Returns
    -------
        Mean in [0, 1] and standard deviation; NaN for one output channel.

    Examples
    --------
    >>> mean, deviation = orthogonality_by_chance(64, 576)
    >>> round(mean, 4), round(deviation, 5)
    (0.9667, 0.00056)
    """
    if c_out < 2:
        return math.nan, math.nan
    cosine = math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)
    variance = max(0.0, 2 * (1 / d - cosine**2) / (c_out * (c_out - 1)))
    return 1 - cosine, math.sqrt(variance)


def orthogonality_z(value: float, c_out: int, d: int) -> float:
    """How many standard deviations an orthogonality lies above random rows; NaN where these do not vary."""
    mean, deviation = orthogonality_by_chance(c_out, d)
    return (value - mean) / deviation if d > 1 and deviation > 0 else math.nan


@cache
def _simulated() -> dict[int, list[tuple[int, float, float]]]:
    """Read (n, mean, deviation) of the variance entropy of n random filters, rising in n, by their number of weights.

    Of scaled normal filters, 8000 trials (1000 above 512 filters; an eighth of these, and 250, for more than 49
    weights), simulated by `benchmarks/chance_table.py`.
    """
    table: dict[int, list[tuple[int, float, float]]] = {}
    with (Path(__file__).parent / "random_entropy.csv").open(encoding="ascii") as file:
        for row in csv.DictReader(file):
            entry = (int(row["n"]), float(row["mean"]), float(row["deviation"]))
            table.setdefault(int(row["k"]), []).append(entry)
    return table


def variance_entropy_by_chance(n: int, k: int) -> tuple[float, float]:
    """Mean and standard deviation of the variance entropy of n random filters of k weights.

    Interpolated in log n between simulated sizes; beyond the largest, both the deficit log10 k − mean and the
    deviation fall as 1/n.

    Parameters
    ----------
    n
        Filters that are not sparse.
    k
        Weights a filter: 4, 9, 16, 25, 49, 64, 196 or 256.

    Returns
    -------
        Mean in [0, log10 k] and standard deviation; NaN for other kernels and for fewer than three filters, whose
        entropy is always 0.

    Examples
    --------
    >>> mean, deviation = variance_entropy_by_chance(4096, 9)
    >>> round(mean, 4), round(deviation, 5)
    (0.9538, 0.0001)
    """
    table = _simulated().get(k)
    if table is None or n < table[0][0]:
        return math.nan, math.nan
    limit = math.log10(k)
    if n >= table[-1][0]:
        size, mean, deviation = table[-1]
        return limit - (limit - mean) * size / n, deviation * size / n
    above = next(i for i, row in enumerate(table) if row[0] > n)
    (n0, mean0, deviation0), (n1, mean1, deviation1) = table[above - 1], table[above]
    t = math.log(n / n0) / math.log(n1 / n0)
    deficit = (limit - mean0) ** (1 - t) * (limit - mean1) ** t
    return limit - deficit, deviation0 ** (1 - t) * deviation1**t


def variance_entropy_z(value: float, n: int, k: int) -> float:
    """How many standard deviations a variance entropy lies above that of n random filters; NaN where unknown."""
    mean, deviation = variance_entropy_by_chance(n, k)
    return (value - mean) / deviation


@lru_cache(maxsize=1024)
def sparsity_by_chance(n: int, k: int, *, threshold: float = 0.01) -> float:
    """Probability that one of n random filters of k weights is sparse.

    (2 Φ(ε M) − 1)^k with M the median of the largest of n · k absolute normal weights.

    Examples
    --------
    >>> sparsity_by_chance(4096, 9) < 1e-12
    True
    >>> round(sparsity_by_chance(64, 1), 3)
    0.02
    """
    # (2 Φ(M) − 1)^(n k) = 1/2, that is erfc(M / √2) = 1 − 2^(−1 / (n k)), by bisection.
    tail = -math.expm1(-math.log(2) / (n * k))
    low, high = 0.0, 40.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle) > tail else (low, middle)
    return math.erf(threshold * low) ** k


def sparsity_z(n_sparse: int, n: int, k: int, *, threshold: float = 0.01) -> float:
    """How many standard deviations a number of sparse filters lies above that of random ones.

    Random filters are all but never sparse, so that the binomial deviation is next to nothing: it counts as one
    filter at least, and the z-score of a common layer is simply its number of sparse filters.
    """
    p = sparsity_by_chance(n, k, threshold=threshold)
    return (n_sparse - n * p) / max(1.0, math.sqrt(n * p * (1 - p)))
