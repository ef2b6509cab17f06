"""Spatial frequencies of images: power spectra, half-octave bands, and noise within a band."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["band_noise", "band_of", "edges_for", "power", "radius"]

Array = NDArray[np.float64]

_HIGHEST: Final = 2**-0.25  # upper end of the highest band: over the corner of the spectrum, √½


def radius(height: int, width: int) -> Array:
    """Distance of each coefficient of a DFT from the zero frequency, in cycles a pixel, shape (height, width)."""
    return np.asarray(np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)), dtype=np.float64)


def edges_for(height: int, width: int) -> Array:
    """Return the ends of the half-octave bands that hold a frequency of such images, in cycles a pixel, rising.

    They end at 2^(−1/4 − k/2), k = 0, 1, …, which is no frequency of an image with sides of 2^m pixels.

    Examples
    --------
    >>> edges_for(8, 8).round(3).tolist()
    [0.105, 0.149, 0.21, 0.297, 0.42, 0.595, 0.841]
    """
    lowest = 1 / min(height, width)  # along both axes, so that no band between is empty
    n = math.floor(2 * math.log2(_HIGHEST / lowest)) + 1
    return np.asarray(_HIGHEST * 2.0 ** (-np.arange(n, -1, -1) / 2), dtype=np.float64)


def band_of(height: int, width: int) -> NDArray[np.int64]:
    """Band of each coefficient of a DFT, shape (height, width); −1 below the lowest band, as the zero frequency is."""
    return np.asarray(np.searchsorted(edges_for(height, width), radius(height, width)) - 1, dtype=np.int64)


def power(images: NDArray[np.floating]) -> Array:
    """Power spectrum of images, summed over channels and averaged over images.

    Parameters
    ----------
    images
        Shape (n, channels, height, width).

    Returns
    -------
        Shape (height, width), zero frequency first; its sum is the mean squared norm of an image.

    Examples
    --------
    >>> power(np.ones((1, 1, 2, 2))).tolist()
    [[4.0, 0.0], [0.0, 0.0]]
    """
    spectrum = np.abs(np.fft.fft2(np.asarray(images, dtype=np.float64))) ** 2
    return np.asarray(spectrum.sum(axis=1).mean(axis=0) / math.prod(images.shape[2:]), dtype=np.float64)


def band_noise(shape: tuple[int, int, int], *, seed: int, place: int) -> NDArray[np.float32]:
    """Return Gaussian noise within each band, all of one norm.

    Parameters
    ----------
    shape
        Of an image: channels, height, width.
    seed, place
        Random seed, and the image's place among all.

    Returns
    -------
        Shape (bands, channels, height, width), root mean square 1 in each band.
    """
    white = np.random.default_rng([seed, place]).standard_normal(shape)
    bands = band_of(*shape[1:])
    spectrum = np.fft.fft2(white)
    found = np.stack([np.fft.ifft2(spectrum * (bands == band)).real for band in range(int(bands.max()) + 1)])
    found /= np.sqrt((found**2).mean(axis=(1, 2, 3), keepdims=True))
    return np.asarray(found, dtype=np.float32)
