"""Arithmetic that several corruptions share: zoom, motion blur, the fractal of fog, colour."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["blur_kernel", "brighten", "grey", "motion_blur", "plasma", "warp_affine", "zoom_in"]

Array = NDArray[Any]

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FRACTIONS: Final = 32  # of a pixel, that OpenCV's warp keeps of a position


def zoom_in(image: Array, factor: float) -> Array:
    """Enlarge the centre of an image (h, w, c) bilinearly to the image's own size."""
    size = image.shape[:2]
    kept = [math.ceil(side / factor) for side in size]
    first = [(side - keep) // 2 for side, keep in zip(size, kept, strict=True)]
    centre = image[first[0] : first[0] + kept[0], first[1] : first[1] + kept[1]]
    large = ndimage.zoom(centre, (factor, factor, 1), order=1)
    top, left = (large.shape[0] - size[0]) // 2, (large.shape[1] - size[1]) // 2
    return np.asarray(large[top : top + size[0], left : left + size[1]])


def motion_blur(image: NDArray[np.uint8], radius: int, sigma: float, angle: float) -> NDArray[np.uint8]:
    """Blur an image (h, w, c) along one direction, as ImageMagick's `motion-blur` does: from each pixel on one side.

    Parameters
    ----------
    image
        Beyond its edge the nearest pixel stands.
    radius, sigma
        2 radius + 1 samples, weighted by half a Gaussian.
    angle
        In degrees.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    rows, columns = np.indices(image.shape[:2])
    blurred = np.zeros(image.shape)
    for step, weight in enumerate(weights):
        row = np.clip(rows + math.ceil(step * sine - 0.5), 0, image.shape[0] - 1)
        column = np.clip(columns + math.ceil(step * cosine - 0.5), 0, image.shape[1] - 1)
        blurred += weight * image[row, column]
    return np.rint(blurred).astype(np.uint8)


def plasma(side: int, decay: float, state: np.random.RandomState) -> NDArray[np.float64]:
    """Return a random cloud in [0, 1] by the diamond-square algorithm.

    Parameters
    ----------
    side
        A power of two.
    decay
        By which the noise shrinks from each scale to the next.
    state
        Of the random numbers.
    """
    cloud = np.zeros((side, side))
    noise, step = 100.0, side

    def settle(total: Array) -> Array:
        return np.asarray(total / 4 + noise * state.uniform(-noise, noise, total.shape))

    while step >= 2:
        half = step // 2
        corners = cloud[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        cloud[half::step, half::step] = settle(pairs + np.roll(pairs, -1, axis=1))
        middles = cloud[half::step, half::step]
        corners = cloud[::step, ::step]
        above = middles + np.roll(middles, 1, axis=0)
        cloud[::step, half::step] = settle(above + (corners + np.roll(corners, -1, axis=1)))
        beside = middles + np.roll(middles, 1, axis=1)
        cloud[half::step, ::step] = settle(beside + (corners + np.roll(corners, -1, axis=0)))
        step, noise = half, noise / decay
    cloud -= cloud.min()
    return np.asarray(cloud / cloud.max(), dtype=np.float64)


def blur_kernel(radius: float, sigma: float) -> NDArray[np.float32]:
    """Return a disc with soft edges that adds up to 1, without rows and columns of zeros around it."""
    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    place = np.arange(-reach, reach + 1)
    disc = (place[:, None] ** 2 + place**2 <= radius**2).astype(np.float32)
    disc /= disc.sum()
    offsets = np.arange(taps) - taps // 2
    soft = np.exp(-(offsets**2) / (2 * sigma**2))
    soft = (soft / soft.sum()).astype(np.float32)
    for axis in (0, 1):
        disc = ndimage.correlate1d(disc, soft, axis=axis, mode="mirror")
    keep = slice(first := int(np.flatnonzero(disc.any(axis=1))[0]), len(disc) - first)
    return np.asarray(disc[keep, keep], dtype=np.float32)


def brighten(image: NDArray[np.float64], more: float) -> NDArray[np.float64]:
    """Raise the value of hue, saturation and value of an image (h, w, c) in [0, 1], cut off at 1."""
    if image.shape[2] == 1:
        return np.asarray(np.clip(image + more, 0, 1), dtype=np.float64)
    hue, saturation, value = _hsv(image)
    value = np.clip(value + more, 0, 1)
    sector = np.floor(hue * 6)
    part = hue * 6 - sector
    low = value * (1 - saturation)
    falling = value * (1 - part * saturation)
    rising = value * (1 - (1 - part) * saturation)
    orders = [
        (value, rising, low), (falling, value, low), (low, value, rising),
        (low, falling, value), (rising, low, value), (value, low, falling),
    ]  # fmt: skip
    which = (sector.astype(np.uint8) % 6)[..., None]
    return np.asarray(np.choose(which, [np.stack(order, axis=-1) for order in orders]), dtype=np.float64)


def _hsv(image: NDArray[np.float64]) -> tuple[Array, Array, Array]:
    value = image.max(axis=-1)
    spread = value - image.min(axis=-1)
    flat = spread == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        saturation = np.where(flat, 0.0, spread / value)
        hue = np.zeros_like(value)
        for place, (channel, plus, minus) in enumerate(((0, 1, 2), (1, 2, 0), (2, 0, 1))):
            turn = (image[..., plus] - image[..., minus]) / spread
            hue = np.where(image[..., channel] == value, 2.0 * place + turn, hue)
    return np.where(flat, 0.0, (hue / 6.0) % 1.0), saturation, value


def grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Luminance of an image (h, w, c), shape (h, w, 1); a grey image's own."""
    return image if image.shape[2] == 1 else np.asarray(image @ _GREY, dtype=np.float32)[..., None]


def warp_affine(
    image: NDArray[np.float32], source: NDArray[np.float32], target: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Move three points (x, y) of an image onto three others, bilinearly, mirrored beyond the edge.

    Positions are kept to 1/32 of a pixel, as OpenCV's `warpAffine` keeps them.
    """
    ones = np.ones((3, 1))
    back = np.linalg.solve(np.hstack([target.astype(np.float64), ones]), source.astype(np.float64)).T  # (2, 3)
    rows, columns = np.indices(image.shape[:2])
    x, y = (np.rint((a * columns + b * rows + c) * _FRACTIONS) / _FRACTIONS for a, b, c in back)
    channels = [
        ndimage.map_coordinates(image[..., channel], [y, x], order=1, mode="mirror")
        for channel in range(image.shape[2])
    ]
    return np.stack(channels, axis=-1)
