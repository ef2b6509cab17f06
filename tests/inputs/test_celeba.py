"""CelebA's folder as it is published, and its tables damaged in every way that matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filterlens.errors import InputError
from filterlens.inputs import data_digest, load_images, load_split

NAMES = [f"{i:06d}.jpg" for i in range(1, 9)]
MALE = [1, -1, 1, 1, -1, -1, 1, -1]
SMILING = [-1, -1, -1, 1, 1, 1, 1, 1]
SPLITS = [0, 0, 0, 0, 1, 2, 2, 2]


def published(folder: Path, *, nested: bool = False, partition: bool = True) -> Path:
    parts = ("Img", "Anno", "Eval") if nested else ("", "", "")
    images, tables, evaluation = (folder / part for part in parts)
    (images / "img_align_celeba").mkdir(parents=True)
    for path in (tables, evaluation):
        path.mkdir(exist_ok=True)
    for i, name in enumerate(NAMES):
        Image.new("RGB", (6, 8), (10 * i, 20, 30)).save(images / "img_align_celeba" / name, quality=100)
    rows = [f"{name} {male:2d}  {smiling:2d}" for name, male, smiling in zip(NAMES, MALE, SMILING, strict=True)]
    (tables / "list_attr_celeba.txt").write_text("\n".join(["8", "Male Smiling ", *rows]) + "\n")
    if partition:
        lines = [f"{name} {split}" for name, split in zip(NAMES, SPLITS, strict=True)]
        (evaluation / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("nested", [True, False])
def test_a_folder_is_read_as_it_is_published(tmp_path: Path, nested: bool) -> None:
    folder = published(tmp_path / "celeba", nested=nested)
    found = load_images(str(folder), 10)
    assert found.name == "celeba-Male"
    assert found.pixels.shape == (3, 3, 8, 6)
    assert found.labels.tolist() == [0, 1, 0]
    assert (found.pixels[:, 0, 4, 3] * 255).round().tolist() == pytest.approx([50, 60, 70], abs=2)
    assert load_images(f"{folder}?attribute=Smiling", 2).labels.tolist() == [1, 1]
    train, test = load_split(str(folder), 10)
    assert train.labels.tolist() == [1, 0, 1, 1]
    assert len(test) == 3


def test_without_the_table_of_splits_every_tenth_image_is_held_out(tmp_path: Path) -> None:
    folder = published(tmp_path / "celeba", partition=False)
    assert len(load_images(str(folder), 10)) == 8
    train, test = load_split(str(folder), 10)
    assert (len(train), len(test)) == (8, 0)


def test_the_digest_is_of_tables_images_and_attribute(tmp_path: Path) -> None:
    folder = published(tmp_path / "a")
    first = data_digest(str(folder))
    assert data_digest(str(published(tmp_path / "b", nested=True))) == first
    assert data_digest(f"{folder}?attribute=Smiling") != first
    Image.new("RGB", (6, 8)).save(folder / "img_align_celeba" / NAMES[0])
    assert data_digest(str(folder)) != first


def test_an_attribute_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    folder = published(tmp_path / "celeba")
    with pytest.raises(InputError, match="has no attribute 'Bald'; it has Male, Smiling"):
        load_images(f"{folder}?attribute=Bald", 2)
    with pytest.raises(InputError, match="is no folder of CelebA, which alone has attributes"):
        load_images(f"{tmp_path}?attribute=Bald", 2)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("000006.jpg -1   1", "000006.jpg -1", "line 8: expected an image's name and 2 times 1 or -1, got '000006"),
        ("000006.jpg -1", "000006.jpg  0", "line 8: expected an image's name"),
        ("000006.jpg", "../../etc/passwd", "line 8: expected an image's name"),
        ("000006.jpg", "/dev/zero", "line 8: expected an image's name"),
        ("000006.jpg", "000099.jpg", "cannot be read"),
        ("8\nMale", "9\nMale", "declares '9' images and lists 8: it is cut off"),
        ("Male", "Mäle", "holds other bytes than ASCII"),
        ("8\nMale Smiling ", "8", "has no attribute 'Male'"),
    ],
)
def test_a_damaged_table_of_attributes_is_said_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    folder = published(tmp_path / "celeba", partition=False)
    path = folder / "list_attr_celeba.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=said) as caught:
        load_images(str(folder), 8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["000001.jpg", "000001.jpg 3", "000001.jpg 0 0", ""])
def test_a_damaged_table_of_splits_is_said_with_its_line(tmp_path: Path, wrong: str) -> None:
    folder = published(tmp_path / "celeba")
    path = folder / "list_eval_partition.txt"
    path.write_text(f"{wrong}\n" + path.read_text())
    with pytest.raises(InputError, match="line 1: expected an image's name and 0, 1 or 2"):
        load_images(str(folder), 8)


def test_an_image_that_is_none_and_a_split_without_images_are_said(tmp_path: Path) -> None:
    folder = published(tmp_path / "celeba")
    (folder / "img_align_celeba" / NAMES[5]).write_bytes(b"GIF89a" + bytes(30))
    with pytest.raises(InputError, match=r"000006\.jpg cannot be read as an image"):
        load_images(str(folder), 8)
    assert len(load_images(str(folder), 8, split="train")) == 4
    (folder / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(InputError, match="has no image of the test split"):
        load_images(str(folder), 8)


def test_a_folder_with_images_alone_is_no_celeba(tmp_path: Path) -> None:
    folder = published(tmp_path / "celeba")
    (folder / "list_attr_celeba.txt").unlink()
    found = load_images(str(folder), 8)
    assert found.name == "celeba"
    assert np.unique(found.labels).tolist() == [0]
