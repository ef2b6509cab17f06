"""Image folders, and ImageNet's cropping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filterlens.errors import InputError
from filterlens.inputs import load_images
from filterlens.inputs.folder import read_image

RNG = np.random.default_rng(0)
SUBSET = "n09468604/ILSVRC2012_val_00015253.JPEG"  # the first of robustbench's 5000


def picture(path: Path, width: int, height: int, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width) if mode == "L" else (height, width, 3)
    Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8), mode).save(path)
    return path


def test_a_folder_s_classes_are_its_sorted_subfolders(tmp_path: Path) -> None:
    for name in ("dog", "ant", "cat"):
        for i in range(3):
            picture(tmp_path / name / f"{i}.png", 6, 5)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    found = load_images(str(tmp_path), 100)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.pixels.shape == (9, 3, 5, 6)
    with Image.open(tmp_path / "ant" / "0.png") as image:
        np.testing.assert_allclose(found.pixels[0], np.asarray(image).transpose(2, 0, 1) / 255, atol=1e-7)


def test_a_seed_chooses_images_of_all_classes(tmp_path: Path) -> None:
    for name in "abcd":
        for i in range(8):
            picture(tmp_path / name / f"{i}.png", 4, 5)
    first, again, other = (load_images(str(tmp_path), 16, seed=seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert len(set(first.labels.tolist())) == 4


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "0.png", 6, 5, "L")
    assert load_images(str(tmp_path), 1).pixels.shape == (1, 1, 5, 6)


def test_images_of_two_sizes_are_refused_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "0.png", 6, 5)
    picture(tmp_path / "a" / "1.png", 7, 5)
    with pytest.raises(InputError, match=r"1\.png is 5x7x3 but .*0\.png is 5x6x3: bring all images to one size"):
        load_images(str(tmp_path), 2)


def test_folders_without_classes_or_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no subfolders: an image folder has one subfolder a class"):
        load_images(str(tmp_path), 1)
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="has class subfolders but no images"):
        load_images(str(tmp_path), 1)


def test_a_file_that_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_text("<html>")
    with pytest.raises(InputError, match=r"0\.png cannot be read as an image"):
        load_images(str(tmp_path), 1)


@pytest.mark.parametrize(("width", "height"), [(300, 400), (400, 301), (224, 224), (500, 333)])
def test_cropping_is_what_torchvision_does(tmp_path: Path, width: int, height: int) -> None:
    from torchvision import transforms

    path = picture(tmp_path / "0.png", width, height)
    with Image.open(path) as image:
        cut = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])(image)
    np.testing.assert_array_equal(read_image(path, crop=(256, 224)), np.asarray(cut))


def test_imagenet_folders_are_cropped_and_labelled_by_wordnet_id(tmp_path: Path) -> None:
    picture(tmp_path / "val" / "n01440764" / "a.JPEG", 300, 260)
    picture(tmp_path / "val" / "n01484850" / "b.JPEG", 280, 300, "L")
    found = load_images(str(tmp_path), 5, dataset="imagenet")
    assert found.name == "imagenet"
    assert found.labels.tolist() == [0, 2]
    assert found.pixels.shape == (2, 3, 224, 224)
    (tmp_path / "imagenet").symlink_to(tmp_path / "val")
    assert load_images("imagenet", 5, cache=tmp_path).digest == found.digest


def test_robustbench_s_list_is_preferred_where_its_images_are_there(tmp_path: Path) -> None:
    picture(tmp_path / SUBSET, 256, 256)
    for i in range(4):
        picture(tmp_path / "n01440764" / f"{i}.JPEG", 256, 256)
    assert load_images(str(tmp_path), 1, dataset="imagenet").labels.tolist() != [0]
    assert len(load_images(str(tmp_path), 5, dataset="imagenet")) == 5


def test_a_folder_that_is_no_class_of_imagenet_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "dog" / "0.png", 8, 8)
    with pytest.raises(InputError, match="dog is no class of the data set"):
        load_images(str(tmp_path), 1, dataset="imagenet")


def test_imagenet_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be downloaded without an account; unpack them"):
        load_images("imagenet", 1, cache=tmp_path)
