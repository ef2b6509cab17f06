"""Random perturbations that obey what attacks obey: inside the image box, and of a given norm there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["noisy_images"]

_HALVINGS = 60  # of the interval in which the scale is searched: float64 has 53 bits


def noisy_images(
    images: Tensor, length: Tensor, *, seed: int = 0, first: int = 0, directions: Tensor | None = None
) -> Tensor:
    """Images with Gaussian noise, clipped to [0, 1], of a given L2 norm *after* clipping.

    Parameters
    ----------
    images
        In [0, 1], shape (n, channels, height, width).
    length
        ‖x̃ − x‖₂ of each, shape (n,).
    seed, first
        The direction of image i belongs to the seed and to its place `first` + i in the whole set.
    directions
        Other directions than Gaussian ones, shape as `images`.

    Returns
    -------
        clip(x + s · g), g ~ N(0, 1) and s found by bisection, because the clipped noise's norm grows with s; shape as
        `images`. NaN where no s is enough: where even the corner of the box that g points to is nearer than `length`.

    Notes
    -----
    Noise that leaves the box has directions that no attack has: on nearly binary images half of every random vector
    points out of it, and what points out leads away from the data.
    """
    if directions is None:
        directions = _gaussian(images, seed=seed, first=first)
    direction = directions.flatten(1).double()
    x = images.flatten(1).double()
    room = torch.where(direction > 0, 1 - x, x)  # how far each pixel can move, shape (n, D)
    speed = direction.abs()
    target = length.double().unsqueeze(1)

    def moved(scale: Tensor) -> Tensor:
        return torch.minimum(scale * speed, room)

    low = torch.zeros_like(target)
    high = (room / speed.clamp(min=torch.finfo(torch.float64).tiny)).amax(dim=1, keepdim=True)  # all pixels at the end
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = torch.linalg.vector_norm(moved(middle), dim=1, keepdim=True) < target
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    within = torch.linalg.vector_norm(room, dim=1, keepdim=True) >= target
    noise = torch.where(within, moved(high) * direction.sign(), torch.nan)
    noisy: Tensor = (x + noise).clamp(0, 1).to(images.dtype).reshape(images.shape)
    return noisy


def _gaussian(images: Tensor, *, seed: int, first: int) -> Tensor:
    """N(0, 1) numbers of each image, shape as `images`."""
    drawn = np.stack([
        np.random.default_rng([seed, first + i, 1]).standard_normal(images.shape[1:], dtype=np.float32)
        for i in range(len(images))
    ])  # fmt: skip
    return torch.from_numpy(drawn).to(images.device)
