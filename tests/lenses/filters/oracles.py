"""Slow float64 versions of the filter scores, straight from the formulas: less likely to be wrong."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def filters(weight: Array) -> Array:
    return np.asarray(weight, dtype=np.float64).reshape(weight.shape[0] * weight.shape[1], -1)


def sparse(weight: Array, threshold: float = 0.01) -> NDArray[np.bool_]:
    rows = filters(weight)
    largest = np.abs(rows).max()
    return np.array([np.abs(row).max() <= threshold * largest for row in rows])


def entropy(rows: Array) -> float:
    if len(rows) < 2:
        return 0.0
    s = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    if np.sqrt((s**2).sum() / len(rows)) <= 1e-6 * np.abs(rows).max():
        return 0.0
    p = s**2 / (s**2).sum()
    return -sum(float(x) * math.log10(x) for x in p if x > 0)


def variance_entropy(weight: Array) -> float:
    rows = [row / np.abs(row).max() for row, zero in zip(filters(weight), sparse(weight), strict=True) if not zero]
    return entropy(np.array(rows))


def variance_entropy_raw(weight: Array) -> float:
    return entropy(filters(weight))


def orthogonality(weight: Array) -> float:
    rows = np.asarray(weight, dtype=np.float64).reshape(weight.shape[0], -1)
    n = len(rows)
    if n < 2:
        return math.nan
    total = 0.0
    for i in range(n):
        for j in range(n):
            norms = np.linalg.norm(rows[i]) * np.linalg.norm(rows[j])
            if i != j and norms > 0:
                total += abs(rows[i] @ rows[j]) / norms
    return 1 - total / (n * (n - 1))
