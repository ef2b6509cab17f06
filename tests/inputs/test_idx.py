"""IDX files as Fashion-MNIST and EMNIST are published: healthy ones, damaged ones, and ones that declare too much."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from filterlens.errors import InputError
from filterlens.inputs import data_digest, load_images, load_split

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 5, 7), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 10
TEST = "t10k-images-idx3-ubyte.gz"


def idx(array: np.ndarray, *, code: int = 8, shape: tuple[int, ...] | None = None) -> bytes:
    sides = array.shape if shape is None else shape
    return bytes([0, 0, code, len(sides)]) + struct.pack(f">{len(sides)}I", *sides) + array.tobytes()


def published(folder: Path, name: str = "", test: str = "t10k", first: int = 0, *, packed: bool = True) -> Path:
    """Both splits; the training images are the test images upside down."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, pixels in (("train", PIXELS[:, ::-1]), (test, PIXELS)):
        for what, array in (("images-idx3", pixels), ("labels-idx1", LABELS + first)):
            content = idx(np.ascontiguousarray(array))
            end = ".gz" if packed else ""
            (folder / f"{name}{split}-{what}-ubyte{end}").write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_as_it_is_published(tmp_path: Path, packed: bool) -> None:
    folder = published(tmp_path / "fashion-mnist", packed=packed)
    found = load_images(str(folder), 9)
    assert found.name == "fashion-mnist"
    np.testing.assert_array_equal(found.pixels, (PIXELS[:9, None] / np.float32(255)).astype(np.float32))
    np.testing.assert_array_equal(found.labels, LABELS[:9])
    train, test = load_split(str(folder), 12, 5)
    np.testing.assert_array_equal(train.pixels, load_images(str(folder), 12).pixels[:, :, ::-1])
    assert len(test) == 5
    np.testing.assert_array_equal(test.pixels, found.pixels[:5])


def test_emnist_is_turned_upright_and_letters_count_from_0(tmp_path: Path) -> None:
    folder = published(tmp_path, "emnist-letters-", "test", first=1)
    found = load_images(str(folder), 12)
    assert found.name == "emnist-letters"
    np.testing.assert_array_equal((found.pixels[:, 0] * 255).round(), PIXELS.transpose(0, 2, 1))
    np.testing.assert_array_equal(found.labels, LABELS)


def test_of_several_sets_in_a_folder_one_is_named_by_its_file(tmp_path: Path) -> None:
    published(tmp_path, "emnist-digits-", "test")
    published(tmp_path, "emnist-letters-", "test", first=1)
    with pytest.raises(InputError, match="holds the data sets emnist-digits, emnist-letters: name one of them"):
        load_images(str(tmp_path), 3)
    named = load_images(str(tmp_path / "emnist-letters-test-images-idx3-ubyte.gz"), 3)
    assert named.name == "emnist-letters"
    train = load_images(str(tmp_path / "emnist-digits-test-images-idx3-ubyte.gz"), 3, split="train")
    assert train.name == "emnist-digits"
    assert not np.array_equal(train.pixels, named.pixels)


def test_the_digest_is_of_both_splits_and_not_of_the_place(tmp_path: Path) -> None:
    first = data_digest(str(published(tmp_path / "a")))
    assert data_digest(str(published(tmp_path / "b"))) == first
    assert first.startswith("idx:")
    (tmp_path / "b" / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[::-1].copy())))
    assert data_digest(str(tmp_path / "b")) != first


def test_a_split_that_is_not_there_is_said(tmp_path: Path) -> None:
    folder = published(tmp_path)
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    assert len(load_images(str(folder), 4)) == 4
    with pytest.raises(InputError, match="lacks images or labels of the train split; it holds t10k"):
        load_images(str(folder), 4, split="train")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is cut off"),
        (b"\x1f\x8b", "cannot be read as an IDX file"),
        (gzip.compress(idx(PIXELS))[:-20], "cannot be read as an IDX file"),
        (gzip.compress(idx(PIXELS))[:-8] + bytes(8), "cannot be read as an IDX file"),
        (idx(PIXELS)[:-1], "it is cut off"),
        (idx(PIXELS) + b"x", "it holds more than it declares"),
        (gzip.compress(idx(PIXELS) + bytes(1 << 20)), "it holds more than it declares"),
        (idx(PIXELS, code=13), "its first bytes are 00 00 0d 03; expected 00 00 08 03"),
        (idx(LABELS), "its first bytes are 00 00 08 01"),
        (b"\x89PNG" + bytes(40), "its first bytes are 89 50 4e 47"),
        (idx(PIXELS, shape=(12, 0, 7)), "which no such data set has"),
        (idx(PIXELS, shape=(12, 5, 100_000)), "which no such data set has"),
        (idx(PIXELS, shape=(2**32 - 1, 4096, 4096)), "which no such data set has"),
        (idx(PIXELS, shape=(2_000_000, 28, 28)), "declares images that take"),
        (gzip.compress(idx(PIXELS, shape=(2_000_000, 28, 28))), "declares images that take"),
    ],
)
def test_damage_is_said_with_the_file(tmp_path: Path, content: bytes, said: str) -> None:
    folder = published(tmp_path)
    (folder / TEST).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        load_images(str(folder), 3)
    assert TEST in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(load_images(str(folder), 3, split="train")) == 3


def test_images_and_labels_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folder = published(tmp_path)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:11])))
    with pytest.raises(InputError, match="holds 12 test images but 11 labels"):
        load_images(str(folder), 3)


def test_a_small_file_that_unpacks_to_much_is_not_unpacked(tmp_path: Path) -> None:
    """Four gigabytes of zeros in four megabytes are declared honestly, and refused before they are read."""
    folder = published(tmp_path)
    head = idx(np.zeros(0, dtype=np.uint8), shape=(5_600_000, 28, 28))
    (folder / TEST).write_bytes(gzip.compress(head + bytes(1 << 20)))
    with pytest.raises(InputError, match="declares images that take 4"):
        load_images(str(folder), 3)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder = published(tmp_path)
    (folder / TEST).unlink()
    os.mkfifo(folder / TEST)
    with pytest.raises(InputError, match="lacks images"):
        load_images(str(folder), 3)


@pytest.mark.parametrize("seed", range(40))
def test_any_flipped_byte_is_an_error_of_one_line_or_other_pixels(tmp_path: Path, seed: int) -> None:
    folder = published(tmp_path, packed=seed % 2 == 0)
    path = next(folder.glob("t10k-images*"))
    content = bytearray(path.read_bytes())
    generator = np.random.default_rng(seed)
    content[generator.integers(len(content))] ^= int(generator.integers(1, 256))
    path.write_bytes(bytes(content))
    said = ""
    try:
        assert load_images(str(folder), 12).pixels.shape == (12, 1, 5, 7)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
