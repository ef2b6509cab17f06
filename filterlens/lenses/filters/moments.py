"""Mean and scatter of filters in bounded memory, their principal components, and histograms of coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "BINS",
    "Moments",
    "PrincipalComponents",
    "component_shifts",
    "densities",
    "entropies",
    "pairwise_shifts",
    "shift",
]

BINS = 70
_EPS = float(np.finfo(np.float32).eps)

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Moments:
    """Number, mean and scatter matrix of rows seen so far; float64, mergeable in any order.

    Parameters
    ----------
    n
        Rows seen.
    mean
        Shape (K,).
    scatter
        Σ (x − mean)(x − mean)ᵀ, shape (K, K).
    """

    n: int
    mean: Floats
    scatter: Floats

    @classmethod
    def empty(cls, k: int) -> Self:
        """Nothing seen yet, of rows with k entries."""
        return cls(0, np.zeros(k), np.zeros((k, k)))

    @classmethod
    def of(cls, rows: ArrayLike) -> Self:
        """Return the moments of the rows of an (n, K) array of floating-point numbers."""
        values = np.ascontiguousarray(rows)
        from filterlens.lenses.filters.kernels import scatter  # Numba: only where filters are read

        return cls(*scatter(values, np.ones(len(values), values.dtype), 0.0))

    @classmethod
    def of_scaled(cls, rows: NDArray[np.floating], tops: NDArray[np.floating], limit: float) -> Self:
        """Return the moments of the rows whose top, shape (n,), is over the limit, each divided by its top."""
        from filterlens.lenses.filters.kernels import scatter  # Numba: only where filters are read

        return cls(*scatter(rows, tops, limit))

    @classmethod
    def unpack(cls, values: Floats) -> Self:
        """Return what `packed` holds."""
        k = math.isqrt(values.size)
        return cls(int(values[0]), values[1 : k + 1].copy(), values[k + 1 :].reshape(k, k).copy())

    @property
    def packed(self) -> Floats:
        """Number, mean and scatter in one row of 1 + K + K² numbers."""
        return np.concatenate([[self.n], self.mean, self.scatter.ravel()])

    def __add__(self, other: Moments) -> Moments:
        """Moments of both together (Chan, Golub and LeVeque 1979)."""
        n = self.n + other.n
        if not n:
            return self
        difference = other.mean - self.mean
        return Moments(
            n,
            self.mean + difference * (other.n / n),
            self.scatter + other.scatter + np.outer(difference, difference) * (self.n * other.n / n),
        )

    def _varies(self) -> bool:
        """Whether there are two rows that differ by more than float32's rounding."""
        variance = float(np.trace(self.scatter))
        return self.n >= 2 and variance > (variance + self.n * float(self.mean @ self.mean)) * (4 * _EPS) ** 2

    @property
    def entropy(self) -> float:
        """− Σ p log10 p of the shares p of the variance in each principal direction; 0 where nothing varies."""
        return entropies([self])[0]

    def principal_components(self) -> PrincipalComponents | None:
        """Principal components, or None without at least two rows that differ by more than float32's rounding."""
        if not self._varies():
            return None
        variances, vectors = np.linalg.eigh(self.scatter)
        basis = vectors.T[::-1].copy()
        largest = np.abs(basis).argmax(axis=1)
        basis *= np.sign(basis[np.arange(len(basis)), largest])[:, None]
        ratio = np.clip(variances[::-1], 0, None)
        return PrincipalComponents(self.mean, basis, ratio / ratio.sum())


def entropies(moments: Sequence[Moments]) -> list[float]:
    """Return `Moments.entropy` of several moments of rows with the same number of entries."""
    varying = [place for place, found in enumerate(moments) if found._varies()]
    result = [0.0] * len(moments)
    if varying:
        variances = np.clip(np.linalg.eigvalsh(np.stack([moments[place].scatter for place in varying])), 0, None)
        p = variances / variances.sum(axis=1, keepdims=True)
        for place, total in zip(varying, xlogy(p, p).sum(axis=1).tolist(), strict=True):
            result[place] = max(0.0, -total / math.log(10))
    return result


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalComponents:
    """Orthonormal directions by falling variance.

    Parameters
    ----------
    mean
        Shape (K,).
    basis
        Row i is component v_i, its largest entry positive; shape (K, K).
    ratio
        Share a_i of the variance, shape (K,), sums to 1.
    """

    mean: Floats
    basis: Floats
    ratio: Floats

    def coefficients(self, rows: Tensor) -> Tensor:
        """c_i = ⟨x − mean, v_i⟩ of each row, shape (n, K), in the rows' type."""
        import torch

        mean = torch.as_tensor(self.mean, dtype=rows.dtype, device=rows.device)
        basis = torch.as_tensor(self.basis, dtype=rows.dtype, device=rows.device)
        return (rows - mean) @ basis.T


def histograms(coefficients: Tensor, low: float, high: float, bins: int) -> NDArray[np.int64]:
    """Count each column of an (n, K) matrix in equal bins over [low, high]; shape (K, bins)."""
    import torch

    k = coefficients.shape[1]
    scale = bins / (high - low) if high > low else 0.0
    index = ((coefficients - low) * scale).long().clamp_(0, bins - 1)
    index += torch.arange(k, device=index.device) * bins
    counts: NDArray[np.int64] = torch.bincount(index.flatten(), minlength=k * bins).cpu().numpy()
    return counts.reshape(k, bins)


def densities(counts: NDArray[np.int64], width: float) -> Floats:
    """Histograms along the last axis as the papers compare them.

    Density (counts over their sum and the width of a bin), empty bins set to float32's eps, renormalised to sum 1.
    A histogram without any count is NaN.
    """
    total = counts.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = counts / (total * width)
    p = np.where((counts == 0) & (total > 0), _EPS, p)
    normalised: Floats = p / p.sum(axis=-1, keepdims=True)
    return normalised


def component_shifts(p: Floats, q: Floats) -> Floats:
    """KL(p_i ‖ q_i) + KL(q_i ‖ p_i) in nats of densities (…, K, bins); shape (…, K)."""
    found: Floats = ((p - q) * (np.log(p) - np.log(q))).sum(axis=-1)
    return found


def pairwise_shifts(p: Floats, ratio: Floats) -> Floats:
    """Σ_i a_i (KL(p_i ‖ q_i) + KL(q_i ‖ p_i)) between every two of M models' densities (M, K, bins); shape (M, M)."""
    weighted = (p * ratio[:, None]).reshape(len(p), -1)
    logarithm = np.log(p).reshape(len(p), -1)
    cross = weighted @ logarithm.T
    own = np.diag(cross)
    found: Floats = np.clip(own[:, None] + own[None, :] - cross - cross.T, 0, None)
    np.fill_diagonal(found, 0)
    return found


def shift(a: Tensor, b: Tensor, *, bins: int = BINS) -> float:
    """Distribution shift D between two sets of filters.

    Both are projected on the principal components of their union; each coefficient is counted in equal bins over
    the common range of all coefficients; D = Σ_i a_i (KL(p_i ‖ q_i) + KL(q_i ‖ p_i)).

    Parameters
    ----------
    a, b
        Scaled filters, shapes (n, K) and (m, K).
    bins
        Bins of each histogram.

    Returns
    -------
        In nats, not negative; 0 for equal sets, NaN where a side is empty or nothing varies.

    References
    ----------
    [Gavrikov2022DB]_, section 5; [Gavrikov2022Lens]_, section 4.

    Examples
    --------
    >>> import torch
    >>> filters = torch.linspace(-1, 1, 90).reshape(10, 9)
    >>> shift(filters, filters)
    0.0
    """
    components = (Moments.of(a) + Moments.of(b)).principal_components()
    if components is None or not len(a) or not len(b):
        return float("nan")
    sides = [components.coefficients(side) for side in (a, b)]
    low = min(float(side.min()) for side in sides)
    high = max(float(side.max()) for side in sides)
    p, q = (densities(histograms(side, low, high, bins), (high - low) / bins) for side in sides)
    return float(components.ratio @ component_shifts(p, q))
