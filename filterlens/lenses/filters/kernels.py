"""Loops over many short filters, compiled: one thread, a few nanoseconds a filter, nothing allocated per filter.

Rows are filters, an (n, K) array in C order; compiled once a machine and kept in Numba's cache. Scaling, products and
sums are float64 but for `widen` and `count`, which work in float32 as the histograms' definition needs no more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.process.compiled import compiled

__all__ = ["count", "maxima", "scatter", "widen"]

_BLOCK = 64  # filters side by side: their K rows stay in the cache, and loops over them fill vector registers
_SUMS = {"reassoc", "contract", "nsz"}  # sums in any order, so that they vectorise; NaN and Inf stay what they are


@compiled()
def maxima(rows: NDArray[Any], found: NDArray[Any]) -> None:
    """Largest absolute weight of each row into `found`, shape (n,); NaN where a row holds NaN."""
    n, k = rows.shape
    for i in range(n):
        top = abs(rows[i, 0])
        total = top
        for j in range(1, k):
            size = abs(rows[i, j])
            top = max(top, size)
            total += size
        found[i] = total if total != total else top  # noqa: PLR0124 - NaN alone differs from itself


@compiled(fastmath=_SUMS)
def _add_products(block: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """Add the products of every two rows to `sums`, lower triangle; rows come in threes, which share what is loaded."""
    for j in range(0, len(block), 3):
        for o in range(0, j + 1, 3):
            aa = ab = ac = ba = bb = bc = ca = cb = cc = 0.0
            for i in range(_BLOCK):
                x, y, z = block[j, i], block[j + 1, i], block[j + 2, i]
                a, b, c = block[o, i], block[o + 1, i], block[o + 2, i]
                aa, ab, ac = aa + x * a, ab + x * b, ac + x * c
                ba, bb, bc = ba + y * a, bb + y * b, bc + y * c
                ca, cb, cc = ca + z * a, cb + z * b, cc + z * c
            own = sums[j : j + 3, o : o + 3]
            own[0, 0], own[0, 1], own[0, 2] = own[0, 0] + aa, own[0, 1] + ab, own[0, 2] + ac
            own[1, 0], own[1, 1], own[1, 2] = own[1, 0] + ba, own[1, 1] + bb, own[1, 2] + bc
            own[2, 0], own[2, 1], own[2, 2] = own[2, 0] + ca, own[2, 1] + cb, own[2, 2] + cc


@compiled()
def _transpose(rows: NDArray[Any], block: NDArray[np.float64]) -> None:
    """Put rows side by side; those of 3x3 filters in a loop whose length the compiler knows, in half the time."""
    n, k = rows.shape
    for i in range(n):
        if k == 9:
            for j in range(9):
                block[j, i] = rows[i, j]
        else:
            for j in range(k):
                block[j, i] = rows[i, j]


@compiled(fastmath=_SUMS)
def scatter(
    rows: NDArray[Any], tops: NDArray[Any], limit: float
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Return number, mean (K,) and scatter (K, K) of the rows whose top is over the limit, each divided by its top.

    Sums are taken about the first of them, so that nothing cancels where rows hardly differ.
    """
    n, k = rows.shape
    block = np.zeros((-(-k // 3) * 3, _BLOCK))
    factors = np.zeros(_BLOCK)
    first = np.zeros(k)
    second = np.zeros((len(block), len(block)))
    shift = np.zeros(k)
    kept = 0
    for start in range(0, n, _BLOCK):
        m = min(_BLOCK, n - start)
        for i in range(m, _BLOCK):
            factors[i] = 0.0
        for i in range(m):
            factors[i] = 1.0 / tops[start + i] if tops[start + i] > limit else 0.0
            if factors[i] > 0.0 and kept == 0:
                shift[:] = rows[start + i] * factors[i]
            kept += factors[i] > 0.0
        _transpose(rows[start : start + m], block)
        for j in range(k):
            total = 0.0
            for i in range(_BLOCK):
                block[j, i] = block[j, i] * factors[i] - shift[j] if factors[i] > 0.0 else 0.0
                total += block[j, i]
            first[j] += total
        _add_products(block, second)
    share = max(kept, 1)
    for j in range(k):
        for other in range(j + 1):
            second[j, other] -= first[j] * first[other] / share
            second[other, j] = second[j, other]
    return kept, shift + first / share, second[:k, :k].copy()


@compiled()
def _fill(rows: NDArray[Any], tops: NDArray[Any], limit: float, start: int, block: NDArray[np.float32]) -> int:
    """Put the scaled rows of one block that are over the limit side by side, and say how many they are."""
    k = rows.shape[1]
    m = 0
    for i in range(start, min(start + block.shape[1], rows.shape[0])):
        if tops[i] > limit:
            for j in range(k):
                block[j, m] = rows[i, j] / tops[i]
            m += 1
    return m


@compiled(fastmath={"contract"})
def widen(  # noqa: PLR0917 - compiled functions take them by place
    rows: NDArray[Any],
    tops: NDArray[Any],
    limit: float,
    means: NDArray[np.float32],
    bases: NDArray[np.float32],
    ranges: NDArray[np.float32],
) -> None:
    """Widen the [low, high] of each of F frames, shape (F, 2), by the coefficients of the scaled rows.

    A frame is a mean (K,) and a basis (K, K), of which row i is component v_i: c_i = ⟨x − mean, v_i⟩. A row no longer
    than both ends of the range so far cannot widen it.
    """
    n, k = rows.shape
    block = np.zeros((k, _BLOCK), np.float32)
    squares = np.zeros(_BLOCK, np.float32)
    for start in range(0, n, _BLOCK):
        m = _fill(rows, tops, limit, start, block)
        for f in range(len(means)):
            squares[:] = 0
            for j in range(k):
                mean = means[f, j]
                for i in range(_BLOCK):
                    difference = block[j, i] - mean
                    squares[i] += difference * difference
            short = max(min(-ranges[f, 0], ranges[f, 1]), np.float32(0)) * np.float32(0.9999)
            for i in range(m):
                if squares[i] < short * short:
                    continue
                for c in range(k):
                    value = np.float32(0)
                    for j in range(k):
                        value += (block[j, i] - means[f, j]) * bases[f, c, j]
                    ranges[f, 0] = min(ranges[f, 0], value)
                    ranges[f, 1] = max(ranges[f, 1], value)


@compiled(fastmath={"contract"})
def count(  # noqa: PLR0917 - as above
    rows: NDArray[Any],
    tops: NDArray[Any],
    limit: float,
    means: NDArray[np.float32],
    bases: NDArray[np.float32],
    ranges: NDArray[np.float32],
    bins: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Add each coefficient of the scaled rows, in each of F frames, to its bin of `counts`, shape (F, K, most bins).

    A frame's first `bins` bins, of its K rows, are equal ones over its [low, high].
    """
    n, k = rows.shape
    block = np.zeros((k, _BLOCK), np.float32)
    values = np.zeros(_BLOCK, np.float32)
    places = np.zeros(_BLOCK, np.int32)
    for start in range(0, n, _BLOCK):
        m = _fill(rows, tops, limit, start, block)
        for f in range(len(means)):
            low, width = ranges[f, 0], ranges[f, 1] - ranges[f, 0]
            scale = np.float32(bins[f]) / width if width > 0 else np.float32(0)
            last = np.float32(bins[f] - 1)
            for c in range(k):
                values[:] = 0
                for j in range(k):
                    weight, centre = bases[f, c, j], means[f, j]
                    for i in range(_BLOCK):
                        values[i] += (block[j, i] - centre) * weight
                for i in range(_BLOCK):
                    places[i] = np.int32(min(max((values[i] - low) * scale, np.float32(0)), last))
                for i in range(m):
                    counts[f, c, places[i]] += 1
