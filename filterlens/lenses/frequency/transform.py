"""Mean power spectrum of a layer's filters."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["filter_spectrum"]

_BLOCK = 1 << 22  # entries of the transform in memory at once


def filter_spectrum(weight: Tensor, *, frequencies: int = 32) -> NDArray[np.float64]:
    """Sum the power spectra of a convolution's filters.

    P(u, v) = Σ_f |F_f(u, v)|², F_f(u, v) = Σ_{h, w} f(h, w) e^{−2πi (u h + v w) / N}, each filter padded with zeros to
    N x N, N = max(frequencies, 2 · kernel size).

    Parameters
    ----------
    weight
        Shape (c_out, c_in / groups, k_h, k_w).
    frequencies
        N where no filter is larger than half of it.

    Returns
    -------
        Shape (N_h, N_w), zero frequency first; Σ P / (N_h N_w) is the squared norm of the weight. NaN where the weight
        is not finite.

    Examples
    --------
    >>> filter_spectrum(torch.ones(1, 1, 1, 1), frequencies=2).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    filters = weight.detach().to("cpu", torch.float32).flatten(0, 1)
    size = tuple(max(frequencies, 2 * k) for k in filters.shape[1:])
    scale = float(filters.abs().max())
    if not math.isfinite(scale) or scale == 0:
        return np.full(size, 0.0 if scale == 0 else math.nan)
    # The autocorrelation summed over filters has the same transform, and is much smaller than the spectra of all.
    rows = (filters / scale).flatten(1)
    gram = sum(part.double().T @ part.double() for part in torch.split(rows, max(1, _BLOCK // rows.shape[1])))
    power = _transform_of_gram(np.asarray(gram), tuple(filters.shape[1:]), size)
    return power * scale**2


def _transform_of_gram(
    gram: NDArray[np.float64], kernel: tuple[int, ...], size: tuple[int, ...]
) -> NDArray[np.float64]:
    """Power spectrum of filters whose products f(p) f(q), summed over filters, are given for all places p, q."""
    (height, width), (n_h, n_w) = kernel, size
    places_h, places_w = np.divmod(np.arange(height * width), width)
    lag_h = (places_h[:, None] - places_h) % n_h
    lag_w = (places_w[:, None] - places_w) % n_w
    correlation = np.bincount((lag_h * n_w + lag_w).ravel(), gram.ravel(), minlength=n_h * n_w).reshape(n_h, n_w)
    return np.asarray(np.fft.fft2(correlation).real.clip(min=0), dtype=np.float64)
