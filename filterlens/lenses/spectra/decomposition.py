"""Singular values of a matrix, and an upper bound of a convolution's operator norm."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["operator_norm_bound", "singular_values"]

_LARGE: Final = 1024  # rows of a Gram matrix: above, MKL's eigenvalues take half the time of OpenBLAS's
_TOLERANCE: Final = 0.005  # of the Gram iteration, relative
_ITERATIONS: Final = 12
_ROUNDING: Final = 1 + 1e-5  # of float32, by which a bound is raised


def singular_values(matrix: Tensor) -> NDArray[np.float64]:
    """Singular values of a matrix, from the eigenvalues of its smaller Gram matrix in float64.

    Parameters
    ----------
    matrix
        Shape (rows, columns), any real floating-point type.

    Returns
    -------
        Shape (min(rows, columns),), falling. The large ones are exact to float64; those below about 1e-7 of the
        largest are noise, as they are in float32 weights themselves. NaN where the matrix is not finite.
    """
    dense = matrix.detach().to("cpu", torch.float64).numpy()
    largest = max(float(dense.max(initial=0.0)), -float(dense.min(initial=0.0)))  # without a copy of absolute values
    if not math.isfinite(largest):
        return np.full(min(dense.shape), math.nan)
    if largest == 0:
        return np.zeros(min(dense.shape))
    scaled = dense / largest  # squares stay in range
    gram = scaled @ scaled.T if dense.shape[0] <= dense.shape[1] else scaled.T @ scaled
    large = len(gram) > _LARGE
    eigenvalues = torch.linalg.eigvalsh(torch.from_numpy(gram)).numpy() if large else np.linalg.eigvalsh(gram)
    return np.asarray(largest * np.sqrt(eigenvalues[::-1].clip(min=0)), dtype=np.float64)


def operator_norm_bound(
    weight: Tensor, *, groups: int = 1, frequencies: int = 32, gflop: float = 1.0
) -> tuple[float, bool]:
    """Bound a convolution's operator norm from above, for any input size and for zero or circular padding.

    The operator norm is at most the largest singular value of the transfer function W(ω) = Σ_j W_j e^{i⟨ω, j⟩} over all
    frequencies. It is bounded at N frequencies an axis by Gram iteration, ‖W‖₂ ≤ ‖G_t‖_F^(1 / 2^t) with
    G_{t+1} = G_t* G_t, and between them by 1 / cos(π (k − 1) / 2N) an axis, as ⟨u, W(ω) v⟩ is a trigonometric
    polynomial of k coefficients. Frequencies whose upper bound is below another's lower bound are left out early.

    Parameters
    ----------
    weight
        Shape (c_out, c_in / groups, *kernel).
    groups
        Of the convolution.
    frequencies
        N, at most.
    gflop
        What one product over all frequencies may take; N is as large as that allows.

    Returns
    -------
        The bound, and whether it is by Gram iteration; where that takes more than `gflop` at N = 2 k, it is
        √(Π k) min(‖W unrolled by outputs‖₂, ‖W unrolled by inputs‖₂). NaN where the weight is not finite.

    Notes
    -----
    Strides and dilations do not raise the norm above the bound. Delattre2023 bounds one input size with circular
    padding; the factor for the frequencies between makes it hold for every size.

    References
    ----------
    Delattre2023, algorithm 1 (Gram iteration); Ehlich & Zeller 1964 (polynomials between samples); Singla & Feizi 2021
    (unrollings).

    Examples
    --------
    >>> box = torch.full((1, 1, 3, 3), 1 / 9)
    >>> 1 <= operator_norm_bound(box)[0] < 1.02
    True
    """
    kernel = weight.shape[2:]
    dense = weight.detach().to("cpu", torch.float32)
    scale = float(dense.abs().max())
    if not math.isfinite(scale) or scale == 0:
        return (math.nan, True) if scale else (0.0, True)
    blocks = (dense / scale).reshape(groups, -1, *weight.shape[1:])  # (g, c_out / g, c_in / g, *kernel)
    if blocks.shape[1] < blocks.shape[2]:
        blocks = blocks.transpose(1, 2)
    tall, wide = blocks.shape[1:3]
    size = _grid(kernel, frequencies, 8e-9 * groups * tall * wide**2, gflop)
    if not size:
        flat = (blocks.flatten(2), blocks.transpose(1, 2).flatten(2))
        unrolled = [max(float(singular_values(one)[0]) for one in side) for side in flat]
        return scale * _ROUNDING * math.sqrt(math.prod(kernel)) * min(unrolled), False
    transfer = torch.fft.rfftn(blocks, s=size, dim=tuple(range(3, 3 + len(kernel)))).flatten(3)
    matrices = transfer.permute(0, 3, 1, 2).flatten(0, 1)
    between = math.prod(math.cos(math.pi * (k - 1) / (2 * n)) for k, n in zip(kernel, size, strict=True))
    return scale * _ROUNDING * _largest_norm(matrices) / between, True


def _grid(kernel: tuple[int, ...], frequencies: int, cost: float, gflop: float) -> tuple[int, ...]:
    """Frequencies an axis that the work allows, at least twice the kernel's size; empty where it allows none."""
    for n in range(max(frequencies, 2 * max(kernel)), 1, -1):
        size = tuple(1 if k == 1 else max(n, 2 * k) for k in kernel)
        if cost * math.prod(size) * (size[-1] // 2 + 1) / size[-1] <= gflop:
            return size
        if n <= 2 * min(kernel):
            break
    return ()


def _largest_norm(matrices: Tensor) -> float:
    """Bound the largest spectral norm of complex matrices, shape (n, rows, columns), by Gram iteration."""
    upper = torch.zeros(len(matrices), dtype=torch.float64)  # log
    current = matrices.contiguous()
    for t in range(_ITERATIONS):
        norms = torch.linalg.vector_norm(torch.view_as_real(current).flatten(1), dim=1)  # four times as fast as complex
        there = norms > 0
        if not there.all():
            current, upper, norms = current[there], upper[there], norms[there]
        upper = upper + norms.double().log() / 2**t
        current = current / norms[:, None, None]
        if t:  # now Hermitian, of Frobenius norm 1: its largest eigenvalue is at least 1 / trace
            trace = torch.diagonal(current, dim1=1, dim2=2).real.sum(1).double()
            lower = (upper - trace.log() / 2**t).max()
            keep = upper >= lower
            current, upper = current[keep], upper[keep]
            if upper.max() - lower < _TOLERANCE:
                break
        current = current.mH @ current
    return math.exp(float(upper.max()))
