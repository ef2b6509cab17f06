"""Where random filters would stand: chance levels and z-scores against them.

Random means independent normal weights of one variance in the layer's own shape. A |z| below about two says that
the score does not tell the layer from its initialisation.
"""

from __future__ import annotations

import math
from functools import lru_cache

__all__ = [
    "orthogonality_by_chance",
    "orthogonality_z",
    "sparsity_by_chance",
    "sparsity_z",
    "variance_entropy_by_chance",
    "variance_entropy_z",
]

# For k_h * k_w weights a filter: (n filters, mean, standard deviation) of the variance entropy of scaled normal
# filters, 8000 trials (1000 above 512 filters; an eighth of these, and 250, for more than 49 weights), simulated by
# benchmarks/chance_table.py.
_ENTROPY: dict[int, tuple[tuple[int, float, float], ...]] = {
    4: (
        (3, 0.214502, 0.06692),
        (4, 0.331066, 0.06799),
        (6, 0.44392, 0.05614),
        (8, 0.491503, 0.04352),
        (12, 0.53375, 0.0297),
        (16, 0.553064, 0.02196),
        (24, 0.570574, 0.01444),
        (32, 0.578965, 0.01064),
        (48, 0.586972, 0.007104),
        (64, 0.590838, 0.005279),
        (96, 0.594674, 0.003446),
        (128, 0.596549, 0.002641),
        (256, 0.599296, 0.001329),
        (512, 0.60069, 0.000662),
        (1024, 0.601378, 0.0003357),
        (4096, 0.601882, 8.854e-05),
    ),
    9: (
        (3, 0.261832, 0.03513),
        (4, 0.410271, 0.03749),
        (6, 0.582275, 0.03659),
        (8, 0.679144, 0.03459),
        (12, 0.779237, 0.0281),
        (16, 0.826273, 0.02274),
        (24, 0.871488, 0.01588),
        (32, 0.89295, 0.01213),
        (48, 0.914049, 0.008166),
        (64, 0.924336, 0.006182),
        (96, 0.934403, 0.004175),
        (128, 0.939414, 0.003092),
        (256, 0.946846, 0.001563),
        (512, 0.950544, 0.0007969),
        (1024, 0.952382, 0.0004091),
        (4096, 0.95378, 0.0001003),
    ),
    16: (
        (3, 0.276663, 0.02268),
        (4, 0.436667, 0.02368),
        (6, 0.629507, 0.02356),
        (8, 0.74802, 0.02288),
        (12, 0.889313, 0.02118),
        (16, 0.969527, 0.01906),
        (24, 1.05099, 0.01471),
        (32, 1.09069, 0.01176),
        (48, 1.12924, 0.008299),
        (64, 1.14813, 0.006357),
        (96, 1.16703, 0.004258),
        (128, 1.17634, 0.003261),
        (256, 1.19031, 0.001647),
        (512, 1.19724, 0.0008272),
        (1024, 1.20066, 0.0004207),
        (4096, 1.20326, 0.0001024),
    ),
    25: (
        (3, 0.284153, 0.01625),
        (4, 0.448613, 0.017),
        (6, 0.651311, 0.01669),
        (8, 0.779515, 0.01605),
        (12, 0.940279, 0.01525),
        (16, 1.04016, 0.0144),
        (24, 1.15661, 0.01271),
        (32, 1.21811, 0.01077),
        (48, 1.27901, 0.007832),
        (64, 1.30917, 0.00623),
        (96, 1.33897, 0.004309),
        (128, 1.3539, 0.003281),
        (256, 1.376, 0.001678),
        (512, 1.38698, 0.0008494),
        (1024, 1.39248, 0.0004232),
        (4096, 1.39657, 0.000106),
    ),
    49: (
        (3, 0.290488, 0.01013),
        (4, 0.459724, 0.01071),
        (6, 0.670595, 0.0106),
        (8, 0.806997, 0.01018),
        (12, 0.984885, 0.009383),
        (16, 1.10149, 0.00891),
        (24, 1.25172, 0.008201),
        (32, 1.34627, 0.007661),
        (48, 1.45686, 0.006502),
        (64, 1.5154, 0.005649),
        (96, 1.57389, 0.004086),
        (128, 1.60304, 0.003196),
        (256, 1.64672, 0.001687),
        (512, 1.66848, 0.0008585),
        (1024, 1.67935, 0.0004421),
        (4096, 1.68749, 0.0001142),
    ),
    64: (
        (3, 0.29219, 0.008171),
        (4, 0.462313, 0.009147),
        (6, 0.675822, 0.008579),
        (8, 0.814213, 0.008293),
        (12, 0.996008, 0.007607),
        (16, 1.11694, 0.007121),
        (24, 1.27539, 0.006502),
        (32, 1.37819, 0.006439),
        (48, 1.5053, 0.005629),
        (64, 1.57905, 0.004995),
        (96, 1.65458, 0.003786),
        (128, 1.69247, 0.003032),
        (256, 1.74938, 0.001637),
        (512, 1.77779, 0.0008772),
        (1024, 1.792, 0.0004309),
        (4096, 1.80263, 0.0001105),
    ),
    196: (
        (3, 0.29581, 0.004986),
        (4, 0.469207, 0.005362),
        (6, 0.687232, 0.004885),
        (8, 0.830236, 0.004686),
        (12, 1.02146, 0.004227),
        (16, 1.1515, 0.003863),
        (24, 1.3281, 0.003461),
        (32, 1.44879, 0.003245),
        (48, 1.61181, 0.002862),
        (64, 1.72147, 0.002563),
        (96, 1.86478, 0.002303),
        (128, 1.95583, 0.002133),
        (256, 2.12, 0.001448),
        (512, 2.20587, 0.0008243),
        (1024, 2.24901, 0.0004467),
        (4096, 2.28143, 0.0001069),
    ),
    256: (
        (3, 0.296734, 0.003971),
        (4, 0.470145, 0.004673),
        (6, 0.688794, 0.004521),
        (8, 0.832382, 0.004409),
        (12, 1.02468, 0.003785),
        (16, 1.15569, 0.003445),
        (24, 1.33418, 0.003035),
        (32, 1.45698, 0.002761),
        (48, 1.62417, 0.002345),
        (64, 1.73799, 0.002191),
        (96, 1.88942, 0.001897),
        (128, 1.98875, 0.001763),
        (256, 2.18423, 0.001303),
        (512, 2.29574, 0.0008022),
        (1024, 2.3519, 0.000422),
        (4096, 2.39414, 0.0001092),
    ),
}


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
    table = _ENTROPY.get(k)
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
