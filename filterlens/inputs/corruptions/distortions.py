"""The common corruptions [Hendrycks2019]_, one short function each, deterministic by their random state.

Each takes a uint8 image (height, width, channels), its severity's parameters and a random state, whose numbers it
draws in the order of the published code. Values are cut down to whole grey levels at the end, as published.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from filterlens.inputs.corruptions.effects import (
    blur_kernel,
    brighten,
    grey,
    motion_blur,
    plasma,
    warp_affine,
    zoom_in,
)
from filterlens.inputs.corruptions.severities import IMAGENET_C, MADE, SEVERITIES, parameters_for

__all__ = ["corrupt"]

Pixels = NDArray[np.uint8]
State = np.random.RandomState
Corruption = Callable[[Pixels, Any, State], NDArray[Any]]

_SAVED_QUALITY = 85  # of the JPEG files of ImageNet-C


def corrupt(image: Pixels, corruption: str, severity: int, state: State, *, saved: bool = False) -> Pixels:
    """Corrupt one image.

    Parameters
    ----------
    image
        Shape (height, width, channels), one or three channels. With a shorter side under 112 pixels it gets
        CIFAR-10-C's parameters, otherwise ImageNet-C's.
    corruption
        One of `filterlens.inputs.corruptions.severities.MADE`.
    severity
        1 to 5.
    state
        Of the random numbers.
    saved
        Pass the result through a JPEG file of quality 85 where the parameters are ImageNet-C's, whose files are such.

    Returns
    -------
        Of the same shape.

    Raises
    ------
    ValueError
        There is no such corruption or severity.

    Examples
    --------
    >>> corrupt(np.full((2, 2, 1), 100, dtype=np.uint8), "brightness", 1, np.random.RandomState(0))[..., 0].tolist()
    [[112, 112], [112, 112]]
    """
    if corruption not in MADE or not 1 <= severity <= SEVERITIES:
        raise ValueError(f"{corruption} of severity {severity} is none of {', '.join(MADE)}, 1 to {SEVERITIES}")
    _, parameters = parameters_for(*image.shape[:2])
    found = _CORRUPTIONS[corruption](image, parameters[corruption][severity - 1], state)
    done: Pixels = np.asarray(found).astype(np.uint8)
    return _jpeg_compression(done, _SAVED_QUALITY, state) if saved and parameters is IMAGENET_C else done


def _grey_levels(image: NDArray[Any]) -> NDArray[Any]:
    """From [0, 1] to [0, 255], what lies outside cut off."""
    return np.asarray(np.clip(image, 0, 1) * 255)


def _gaussian_noise(image: Pixels, scale: float, state: State) -> NDArray[Any]:
    return _grey_levels(image / 255.0 + state.normal(size=image.shape, scale=scale))


def _shot_noise(image: Pixels, photons: float, state: State) -> NDArray[Any]:
    return _grey_levels(state.poisson(image / 255.0 * photons) / photons)


def _impulse_noise(image: Pixels, amount: float, state: State) -> NDArray[Any]:
    hit = state.random_sample(image.shape) < amount
    salt = state.random_sample(image.shape) < 0.5
    return _grey_levels(np.where(hit, salt.astype(np.float64), image / 255.0))


def _defocus_blur(image: Pixels, parameters: tuple[float, float], state: State) -> NDArray[Any]:
    del state
    kernel = blur_kernel(*parameters).astype(np.float64)
    return _grey_levels(ndimage.correlate(image / 255.0, kernel[..., None], mode="mirror"))


def _glass_blur(image: Pixels, parameters: tuple[float, int, int], state: State) -> NDArray[Any]:
    sigma, reach, rounds = parameters
    height, width, channels = image.shape
    soft = (_gaussian(image / 255.0, sigma) * 255).astype(np.uint8).reshape(-1, channels)
    rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
    taken = list(range(len(soft)))  # whose colour each pixel has
    for _ in range(rounds):
        # the published exchange of two pixels gives both the second's colour
        moves = state.randint(-reach, reach, size=(len(rows) * len(columns), 2)).tolist()
        places = (row * width + column for row in rows for column in columns)
        for place, (right, down) in zip(places, moves, strict=True):
            taken[place] = taken[place + down * width + right]
    return _grey_levels(_gaussian(soft[taken].reshape(image.shape) / 255.0, sigma))


def _motion_blur(image: Pixels, parameters: tuple[int, float], state: State) -> NDArray[Any]:
    return motion_blur(image, *parameters, state.uniform(-45, 45))


def _zoom_blur(image: Pixels, parameters: tuple[float, float], state: State) -> NDArray[Any]:
    del state
    x = (image / 255.0).astype(np.float32)
    factors = np.arange(1, *parameters)
    total = np.zeros_like(x)
    for factor in factors:
        total += zoom_in(x, factor)
    return _grey_levels((x + total) / (len(factors) + 1))


def _snow(
    image: Pixels, parameters: tuple[float, float, float, float, int, float, float], state: State
) -> NDArray[Any]:
    mean, scale, zoom, threshold, radius, sigma, kept = parameters
    flakes = zoom_in(state.normal(size=image.shape[:2], loc=mean, scale=scale)[..., None], zoom)
    flakes = _grey_levels(np.where(flakes < threshold, 0, flakes)).astype(np.uint8)
    layer = motion_blur(flakes, radius, sigma, state.uniform(-135, -45)) / 255.0
    x = image.astype(np.float32) / np.float32(255)
    x = kept * x + (1 - kept) * np.maximum(x, grey(x) * 1.5 + 0.5)
    return _grey_levels(x + layer + np.rot90(layer, k=2))


def _fog(image: Pixels, parameters: tuple[float, float], state: State) -> NDArray[Any]:
    density, decay = parameters
    height, width = image.shape[:2]
    x = image / 255.0
    brightest = x.max()
    cloud = plasma(1 << (max(height, width) - 1).bit_length(), decay, state)[:height, :width, None]
    return _grey_levels((x + density * cloud) * brightest / (brightest + density))


def _brightness(image: Pixels, more: float, state: State) -> NDArray[Any]:
    del state
    return _grey_levels(brighten(image / 255.0, more))


def _contrast(image: Pixels, kept: float, state: State) -> NDArray[Any]:
    del state
    x = image / 255.0
    means = x.mean(axis=(0, 1), keepdims=True)
    return _grey_levels((x - means) * kept + means)


def _elastic_transform(image: Pixels, parameters: tuple[float, float, float], state: State) -> NDArray[Any]:
    strength, sigma, shift = (length * min(image.shape[:2]) for length in parameters)
    x = image.astype(np.float32) / np.float32(255)
    size = np.array(image.shape[:2])
    centre, third = size // 2, min(image.shape[:2]) // 3
    source = np.array([centre + third, (centre[0] + third, centre[1] - third), centre - third], dtype=np.float32)
    moved = source + state.uniform(-shift, shift, size=source.shape).astype(np.float32)
    x = warp_affine(x, source, moved)
    right, down = (
        (_gaussian(state.uniform(-1, 1, size=tuple(size))[..., None], sigma, mode="reflect", truncate=3.0) * strength)
        .astype(np.float32)[..., 0]
        for _ in range(2)
    )  # fmt: skip
    rows, columns = np.indices(image.shape[:2])
    channels = [
        ndimage.map_coordinates(x[..., channel], [rows + down, columns + right], order=1, mode="reflect")
        for channel in range(image.shape[2])
    ]
    return _grey_levels(np.stack(channels, axis=-1))


def _pixelate(image: Pixels, kept: float, state: State) -> NDArray[Any]:
    del state
    picture = _picture(image)
    small = picture.resize((int(picture.width * kept), int(picture.height * kept)), Image.Resampling.BOX)
    return np.asarray(small.resize(picture.size, Image.Resampling.BOX)).reshape(image.shape)


def _jpeg_compression(image: Pixels, quality: int, state: State) -> Pixels:
    del state
    file = io.BytesIO()
    _picture(image).save(file, "JPEG", quality=quality)
    with Image.open(file, formats=("JPEG",)) as read:
        return np.asarray(read, dtype=np.uint8).reshape(image.shape)


def _picture(image: Pixels) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _gaussian(image: NDArray[Any], sigma: float, mode: str = "nearest", truncate: float = 4.0) -> NDArray[np.float64]:
    """Blur an image (h, w, c) by a Gaussian, each channel by itself."""
    return np.asarray(ndimage.gaussian_filter(image, (sigma, sigma, 0), mode=mode, truncate=truncate))


_CORRUPTIONS: Final[Mapping[str, Corruption]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": _elastic_transform,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}
