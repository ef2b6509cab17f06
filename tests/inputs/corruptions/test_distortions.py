"""The corruptions are those of the published code, and what differs differs by less than a grey level.

`published.npz` holds what the published functions gave: `make_cifar_c.py` for 32 x 32 and the package imagenet_c for
224 x 224 (every 16th row and column kept), run with numpy 2.4, scipy 1.17, Pillow 13, opencv 5.0 and scikit-image 0.26
under `numpy.random.seed(severity)`, each image `picture(side)`. Salt and pepper is scikit-image 0.14's, which drew its
numbers from the same state; motion blur is that of the package imagecorruptions, rounded, as ImageMagick was not
there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from filterlens.inputs.corruptions.distortions import corrupt
from filterlens.inputs.corruptions.severities import CIFAR_C, CORRUPTIONS, IMAGENET_C, MADE, parameters_for

PUBLISHED = Path(__file__).parent / "published.npz"
# OpenCV's way of interpolating and of large convolutions: at most a grey level, in at most so many of the values
ROUNDED = {"elastic_transform": 0.2, "defocus_blur": 0.001}


def picture(side: int) -> NDArray[np.uint8]:
    """Smooth colours with a fine texture, by whole numbers only."""
    i, j, c = np.indices((side, side, 3))
    wave = np.abs((i * 512 // side + 90 * c) % 256 - 128) + np.abs((j * 384 // side + 40 * c) % 256 - 128)
    return np.asarray(((wave * 7 // 8) + (i * 7 + j * 13 + c * 29) % 31).clip(0, 255), dtype=np.uint8)


def state(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("name", MADE)
def test_a_corruption_is_the_published_one(name: str, side: int) -> None:
    with np.load(PUBLISHED) as published:
        wanted = published[f"{name}_{side}"].astype(int)
    step = 1 if side == 32 else 16
    assert len(wanted) == 5
    for severity in range(1, 6):
        mine = corrupt(picture(side), name, severity, state(severity)).astype(int)[::step, ::step]
        difference = np.abs(mine - wanted[severity - 1])
        if name in ROUNDED:
            assert difference.max() <= 1
            assert (difference > 0).mean() <= ROUNDED[name]
        else:
            assert difference.max() == 0, severity


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 24, 3), (120, 130, 3), (9, 9, 1)])
@pytest.mark.parametrize("name", MADE)
def test_any_image_keeps_its_shape_and_the_same_state_gives_the_same_image(
    name: str, shape: tuple[int, int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    before = image.copy()
    for severity in (1, 5):
        first = corrupt(image, name, severity, state(3))
        assert first.shape == shape
        assert first.dtype == np.uint8
        assert np.array_equal(first, corrupt(image, name, severity, state(3)))
        assert np.array_equal(image, before)


@pytest.mark.parametrize("name", ["brightness", "contrast", "defocus_blur", "zoom_blur", "motion_blur", "snow"])
def test_a_grey_image_is_corrupted_as_its_three_equal_channels_are(name: str) -> None:
    image = picture(32)[..., :1]
    grey = corrupt(image, name, 3, state(1)).astype(int)
    colour = corrupt(np.repeat(image, 3, axis=2), name, 3, state(1)).astype(int)
    assert np.abs(colour - grey).max() <= 1


def test_a_constant_image_stays_constant_under_blur_and_contrast() -> None:
    flat = np.full((32, 32, 3), 77, dtype=np.uint8)
    for name in ("contrast", "glass_blur", "motion_blur", "zoom_blur", "defocus_blur", "pixelate", "elastic_transform"):
        assert np.abs(corrupt(flat, name, 5, state(0)).astype(int) - 77).max() <= 1, name


def test_brightness_adds_its_value_to_grey() -> None:
    flat = np.full((32, 32, 3), 100, dtype=np.uint8)
    assert (corrupt(flat, "brightness", 2, state(0)) == int(100 + 0.1 * 255)).all()


def test_images_of_imagenets_size_pass_through_a_jpeg_file_where_asked() -> None:
    large, small = picture(224), picture(32)
    assert not np.array_equal(
        corrupt(large, "contrast", 1, state(0), saved=True), corrupt(large, "contrast", 1, state(0))
    )
    assert np.array_equal(corrupt(small, "contrast", 1, state(0), saved=True), corrupt(small, "contrast", 1, state(0)))


@pytest.mark.parametrize(("name", "severity"), [("frost", 1), ("contrast", 0), ("contrast", 6), ("rain", 1)])
def test_what_is_no_corruption_is_refused(name: str, severity: int) -> None:
    with pytest.raises(ValueError, match=f"{name} of severity {severity} is none of gaussian_noise, "):
        corrupt(picture(32), name, severity, state(0))


def test_each_of_fifteen_corruptions_but_frost_has_parameters_of_both_benchmarks() -> None:
    assert len(CORRUPTIONS) == 15
    assert set(CORRUPTIONS) - set(MADE) == {"frost"}
    for table in (CIFAR_C, IMAGENET_C):
        assert set(table) == set(MADE)
        assert {len(values) for values in table.values()} == {5}
    assert parameters_for(111, 300)[0] == "CIFAR-10-C"
    assert parameters_for(112, 112)[0] == "ImageNet-C"
