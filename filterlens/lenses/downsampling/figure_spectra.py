"""Spectra of a downsampling for figures, in NumPy alone: a report may not load torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import InputError

__all__ = ["Spectra", "alias_free", "power_spectra", "radial_mean"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Spectra:
    """Power spectra of dense maps D, of their subsampling O and of its alias-free counterpart A; D's mean taken off.

    Parameters
    ----------
    dense
        P_D, shape (..., s_h H, s_w W), zero frequency first.
    output, alias_free
        P_O and P_A, shape (..., H, W): the frequencies -⌊H/2⌋ … ⌈H/2⌉ - 1, zero frequency first.
    """

    dense: Array
    output: Array
    alias_free: Array


def power_spectra(dense: NDArray[np.floating], *, stride: tuple[int, int]) -> Spectra:
    """Compute the three power spectra of every map.

    Parameters
    ----------
    dense
        Real maps, shape (..., s_h H, s_w W).
    stride
        (s_h, s_w).

    Raises
    ------
    InputError
        The maps' size is no multiple of the stride.

    References
    ----------
    Grabinski2022; DFTs are divided by their number of samples.

    Examples
    --------
    >>> spectra = power_spectra(np.indices((8, 8)).sum(0) % 2, stride=(2, 2))
    >>> float(spectra.dense[4, 4]), float(spectra.output[0, 0]), float(spectra.alias_free.sum())
    (0.25, 0.25, 0.0)
    """
    centred = _centred(dense, stride)
    output = centred[..., :: stride[0], :: stride[1]]
    p_dense, p_output = _power(centred), _power(output)
    rows, columns = _low(output.shape[-2], centred.shape[-2]), _low(output.shape[-1], centred.shape[-1])
    return Spectra(p_dense, p_output, p_dense[..., rows[:, None], columns[None, :]])


def radial_mean(power: Array, *, step: tuple[float, float] = (1.0, 1.0), width: float = 1 / 32) -> tuple[Array, Array]:
    """Average a power spectrum over directions, from the lowest frequency up to the Nyquist frequency.

    Parameters
    ----------
    power
        Shape (H, W), zero frequency first.
    step
        Distance of the map's samples, height and width: the stride for O and A, so that their frequencies are D's.
    width
        Of a ring, in cycles a sample of the dense map.

    Returns
    -------
        Mean frequency of each ring that holds any, in cycles a sample of the dense map, and its mean power. The zero
        frequency is left out, and so are the corners beyond the lower of the two Nyquist frequencies.
    """
    k = np.fft.fftfreq(power.shape[0], step[0])[:, None]
    l = np.fft.fftfreq(power.shape[1], step[1])[None, :]  # noqa: E741 - the formula's letter
    radius = np.hypot(k, l)
    inside = (radius > 0) & (radius <= 0.5 / max(step) + 1e-9)
    ring = np.rint(radius[inside] / width).astype(np.int64)
    count, frequency = np.bincount(ring), np.bincount(ring, radius[inside])
    total = np.bincount(ring, power[inside])
    there = count > 0
    return frequency[there] / count[there], total[there] / count[there]


def alias_free(dense: NDArray[np.floating], *, stride: tuple[int, int]) -> Array:
    """Subsample maps after an ideal low-pass filter: what the output would be without aliasing.

    Parameters
    ----------
    dense
        Real maps, shape (..., s_h H, s_w W).
    stride
        (s_h, s_w).

    Returns
    -------
        Shape (..., H, W). The Nyquist lines are zero, as in `filterlens.training.AliasFreeDownsampling`.

    Raises
    ------
    InputError
        The maps' size is no multiple of the stride.
    """
    centred = _centred(dense, stride)
    height, width = centred.shape[-2:]
    rows = np.abs(np.fft.fftfreq(height, 1 / height))[:, None]
    columns = np.abs(np.fft.fftfreq(width, 1 / width))[None, :]
    keep = ((rows < height / stride[0] / 2) | (stride[0] == 1)) & ((columns < width / stride[1] / 2) | (stride[1] == 1))
    passed = np.fft.ifft2(np.fft.fft2(centred) * keep).real
    mean = np.asarray(dense, dtype=np.float64).mean((-2, -1), keepdims=True)
    return np.asarray((passed + mean)[..., :: stride[0], :: stride[1]], dtype=np.float64)


def _centred(dense: NDArray[np.floating], stride: tuple[int, int]) -> Array:
    maps = np.asarray(dense, dtype=np.float64)
    if maps.ndim < 2 or min(stride) < 1 or maps.shape[-2] % stride[0] or maps.shape[-1] % stride[1]:
        raise InputError(f"maps of shape {maps.shape} are no dense maps of stride {stride[0]}x{stride[1]}")
    return np.asarray(maps - maps.mean((-2, -1), keepdims=True), dtype=np.float64)


def _power(maps: Array) -> Array:
    return np.asarray(np.abs(np.fft.fft2(maps, norm="forward")) ** 2, dtype=np.float64)


def _low(size: int, dense_size: int) -> NDArray[np.int64]:
    """Places of the frequencies 0 … ⌈size/2⌉ - 1, -⌊size/2⌋ … -1 in a longer transform."""
    return np.fft.ifftshift(np.arange(size) - size // 2) % dense_size
