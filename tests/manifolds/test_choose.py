from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from filterlens.errors import CheckpointError, InputError
from filterlens.inputs import load_images
from filterlens.lens import RunSettings
from filterlens.manifolds import choose_manifold
from filterlens.manifolds.choose import training_images


@pytest.fixture
def npz(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    path = tmp_path / "mine.npz"
    np.savez(path, images=rng.integers(0, 255, (30, 8, 8, 3), dtype=np.uint8), labels=np.arange(30) % 3)
    return str(path)


def test_images_with_known_latents_have_the_true_manifold() -> None:
    assert choose_manifold("", load_images("fonts", 3), "fonts", RunSettings()).name == "fonts"


def test_other_images_have_their_neighbours(npz: str) -> None:
    images = load_images(npz, 10)
    assert choose_manifold("", images, "", RunSettings(data=npz)).name == "neighbours"


def test_neighbours_of_a_file_are_its_other_images(npz: str) -> None:
    images = load_images(npz, 10)
    rest = training_images(images, "", RunSettings(data=npz))
    np.testing.assert_array_equal(rest.pixels, load_images(npz, 30).pixels[10:])


def test_neighbours_of_fonts_are_the_training_split() -> None:
    images = load_images("fonts", 4, seed=3)
    rest = training_images(images, "fonts", RunSettings(seed=3))
    assert len(rest) == 10_000
    np.testing.assert_array_equal(rest.pixels[:5], load_images("fonts", 5, seed=3, split="train").pixels)


def test_a_file_without_further_images_is_refused(npz: str) -> None:
    with pytest.raises(InputError, match="all of them are attacked"):
        training_images(load_images(npz, 30), "", RunSettings(data=npz))


def test_fonts_for_other_images_is_refused(npz: str) -> None:
    with pytest.raises(InputError, match="needs FONTS images, not mine"):
        choose_manifold("fonts", load_images(npz, 4), "", RunSettings(data=npz))


@pytest.mark.parametrize("name", ["sphere", "x" * 5000, "a\0b"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no manifold is called"):
        choose_manifold(name, load_images("fonts", 2), "", RunSettings())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train it with"):
        choose_manifold(str(tmp_path / "no.safetensors"), load_images("fonts", 2), "", RunSettings())
