"""Noise that obeys what attacks obey: inside the image box, and of a given norm there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from filterlens.attacks.noise import noisy_images


def norms(noisy: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = torch.linalg.vector_norm((noisy - images).flatten(1).double(), dim=1)
    return out


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.floats(0, 0.6), contrast=st.sampled_from([0.0, 0.3, 1.0]))
def test_noise_stays_in_the_box_and_has_the_norm_that_is_asked_for(seed: int, share: float, contrast: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = 0.5 + contrast * (torch.rand(4, 1, 9, 9, generator=generator) - 0.5)
    if contrast == 1.0:
        images = images.round()  # half of every random direction is clipped away
    length = torch.full((4,), share * 4.5, dtype=torch.float64)  # half of the box's diagonal is always in reach
    noisy = noisy_images(images, length, seed=seed % 1000)
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    torch.testing.assert_close(norms(noisy, images), length, rtol=1e-5, atol=1e-6)


def test_noise_that_nothing_clips_is_the_scaled_gaussian_direction() -> None:
    images = torch.full((3, 3, 4, 4), 0.5)
    noisy = noisy_images(images, torch.full((3,), 0.2), seed=4, first=7)
    for i in range(3):
        direction = np.random.default_rng([4, 7 + i, 1]).standard_normal((3, 4, 4), dtype=np.float32)
        expected = 0.2 * direction / np.linalg.norm(direction)
        np.testing.assert_allclose((noisy[i] - images[i]).numpy(), expected, atol=1e-6)


def test_clipping_takes_nothing_but_what_leaves_the_box() -> None:
    """On a black image half of the pixels cannot move, and the others keep the direction's proportions."""
    images = torch.zeros(1, 1, 6, 6)
    moved = (noisy_images(images, torch.tensor([0.5]), seed=0) - images).flatten().numpy()
    direction = np.random.default_rng([0, 0, 1]).standard_normal((1, 6, 6), dtype=np.float32).ravel()
    assert (moved[direction <= 0] == 0).all()
    kept = direction[direction > 0]
    np.testing.assert_allclose(moved[direction > 0], 0.5 * kept / np.linalg.norm(kept), rtol=1e-4)


def test_a_norm_that_the_box_cannot_hold_is_no_number() -> None:
    images = torch.cat([torch.zeros(1, 1, 5, 5), torch.full((1, 1, 5, 5), 0.5)])
    noisy = noisy_images(images, torch.tensor([5.0, 1.0]), seed=0)  # 5 is the whole diagonal
    assert noisy[0].isnan().all()
    assert norms(noisy, images)[1].item() == pytest.approx(1.0, rel=1e-5)


def test_noise_belongs_to_the_image_and_not_to_the_batch() -> None:
    images = torch.rand(6, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    length = torch.linspace(0.1, 1.0, 6)
    whole = noisy_images(images, length, seed=3)
    part = noisy_images(images[4:], length[4:], seed=3, first=4)
    torch.testing.assert_close(part, whole[4:], rtol=0, atol=1e-6)
