"""Checks that every source of images shares: arrays of any layout in, `Images` out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.images import Images

__all__ = ["as_images", "as_labels", "as_pixels", "check_fits"]

_CHANNELS = (1, 3)


def as_images(name: str, images: NDArray[Any], labels: NDArray[Any], *, where: str) -> Images:
    """Check raw arrays and bring them into the one form that lenses take.

    Parameters
    ----------
    name
        Name of the data set, for tables.
    images
        uint8, or float in [0, 1]; NHWC or NCHW with one or three channels.
    labels
        Integers that are not negative, shape (n,).
    where
        The file or folder that they came from, for messages.

    Raises
    ------
    InputError
        Shape, type, range, or number of labels is wrong.
    """
    pixels = as_pixels(images, where=where)
    checked = as_labels(labels, where=where)
    if len(checked) != len(pixels):
        raise InputError(f"{where} holds {len(pixels)} images but {len(checked)} labels: give one label an image")
    return Images(name, pixels, checked)


def as_pixels(images: NDArray[Any], *, where: str) -> NDArray[np.float32]:
    """Return float32 pixels in [0, 1], shape (n, channels, height, width).

    Raises
    ------
    InputError
        They are not four-dimensional, of another type, or out of range; or their layout cannot be told.
    """
    images = np.asarray(images)
    if images.ndim != 4 or 0 in images.shape:
        raise InputError(
            f"{where}: images have shape {images.shape}; expected (n, height, width, channels) or "
            "(n, channels, height, width)"
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise InputError(f"{where}: images are of type {images.dtype}; expected uint8, or floats in [0, 1]")
    images = _channels_first(images, where)
    if images.dtype == np.uint8:
        pixels = np.ascontiguousarray(images, dtype=np.float32)
        pixels /= np.float32(255)  # in place: images may fill the memory
        return pixels
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # NaN fails too
        raise InputError(
            f"{where}: float images lie in [{low:g}, {high:g}]; expected [0, 1] without normalisation, "
            "which belongs to the model (catalog columns mean and std)"
        )
    return np.ascontiguousarray(images, dtype=np.float32)


def as_labels(labels: NDArray[Any], *, where: str) -> NDArray[np.int64]:
    """Return int64 class indices, shape (n,).

    Raises
    ------
    InputError
        They are not one-dimensional integers, or one is negative.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(
            f"{where}: labels have type {labels.dtype} and shape {labels.shape}; expected integers of shape (n,)"
        )
    if labels.size and int(labels.min()) < 0:
        raise InputError(f"{where}: label {int(labels.min())} is negative; classes count from 0")
    return labels.astype(np.int64)


def check_fits(images: Images, input_size: tuple[int, int, int] | None, classes: int | None = None) -> None:
    """Refuse images that a model cannot take, before it runs.

    Parameters
    ----------
    images
        What the model is to see.
    input_size
        (channels, height, width) that it expects, or None where unknown.
    classes
        How many classes it distinguishes, or None where unknown.

    Raises
    ------
    InputError
        Channels, size or a label do not fit.
    """
    if input_size is not None and images.pixels.shape[1:] != tuple(input_size):
        raise InputError(
            f"the images of {images.name} are {_size(images.pixels.shape[1:])} but the model takes "
            f"{_size(input_size)}: choose other --data"
        )
    if classes is not None and len(images) and int(images.labels.max()) >= classes:
        raise InputError(
            f"{images.name} has label {int(images.labels.max())} but the model has {classes} classes: "
            "choose the --data that it was trained for"
        )


def _channels_first(images: NDArray[Any], where: str) -> NDArray[Any]:
    first, last = images.shape[1] in _CHANNELS, images.shape[3] in _CHANNELS
    if first and last:
        raise InputError(f"{where}: images of shape {images.shape} may be NHWC or NCHW; the channels cannot be told")
    if not first and not last:
        raise InputError(f"{where}: images have shape {images.shape}; expected one or three channels, last or second")
    return images if first else images.transpose(0, 3, 1, 2)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
