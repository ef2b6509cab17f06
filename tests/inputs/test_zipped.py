"""Archives of images, with one folder a class, are read without being unpacked."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filterlens.errors import InputError
from filterlens.inputs import data_digest, folder, load_images, load_split
from filterlens.inputs.folder import has_splits


def picture(shade: int, side: int = 8) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (shade, shade, shade)).save(out, "PNG")
    return out.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return path


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    """Three classes; the test split lacks the second one."""
    members = {f"train/{name}/{i}.png": picture(10 * c + i) for c, name in enumerate("abc") for i in range(4)}
    members |= {f"test/a/{i}.png": picture(100) for i in range(2)} | {f"test/c/{i}.png": picture(102) for i in range(2)}
    members |= {"README.txt": b"hello", "__MACOSX/train/a/0.png": b"junk", "train/a/.hidden.png": b"junk"}
    return archive(tmp_path / "cards.zip", members)


def test_an_archive_gives_its_splits_with_the_classes_of_both(splits: Path) -> None:
    train, test = load_split(str(splits), 100)
    assert has_splits(splits)
    assert (train.name, test.name) == ("cards", "cards")
    np.testing.assert_array_equal(train.labels, [0] * 4 + [1] * 4 + [2] * 4)
    np.testing.assert_array_equal(test.labels, [0, 0, 2, 2])  # not 1: the class that is missing counts
    np.testing.assert_allclose(test.pixels[:, 0, 0, 0] * 255, [100, 100, 102, 102])


def test_a_folder_of_splits_gives_what_its_archive_gives(splits: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(splits) as packed:
        packed.extractall(tmp_path / "cards", [name for name in packed.namelist() if name.startswith("t")])
    for hidden in (tmp_path / "cards").rglob(".hidden.png"):
        hidden.unlink()
    for split in ("train", "test"):
        packed_images, images = (
            load_images(str(place), 5, seed=3, split=split) for place in (splits, tmp_path / "cards")
        )
        np.testing.assert_array_equal(packed_images.pixels, images.pixels)
        np.testing.assert_array_equal(packed_images.labels, images.labels)
    before = data_digest(str(tmp_path / "cards"))
    (tmp_path / "cards" / "train" / "a" / "0.png").write_bytes(picture(200))
    assert data_digest(str(tmp_path / "cards")) != before


def test_an_archive_without_splits_holds_every_tenth_image_out(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "plain.zip", {f"data/{name}/{i:02}.png": picture(i) for name in ("x", "y") for i in range(20)}
    )
    train, test = load_split(str(path), 40)
    assert (len(train), len(test)) == (36, 4)
    assert set(train.labels) == {0, 1}


def test_a_seed_chooses_and_more_images_begin_with_the_same(splits: Path) -> None:
    some, more = (load_images(str(splits), n, seed=1, split="train") for n in (3, 6))
    assert {p.tobytes() for p in some.pixels} < {p.tobytes() for p in more.pixels}


def test_a_digest_is_of_the_archive(splits: Path) -> None:
    before = data_digest(str(splits))
    splits.write_bytes(splits.read_bytes() + b"\0")
    assert data_digest(str(splits)) != before


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": picture(0)}, "holds no images with one folder a class"),
        ({"train/a/0.png": picture(0)}, "holds no images with one folder a class"),
        ({"a/0.png": picture(0), "b/0.png": b"junk"}, r"b/0\.png cannot be read as an image"),
        ({"a/0.png": picture(0), "b/0.png": picture(0, 9)}, "bring all images to one size"),
    ],
)
def test_an_archive_that_is_no_image_folder_is_refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_images(str(archive(tmp_path / "x.zip", members)), 9)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"x\.zip cannot be read as a \.zip archive"):
        load_images(str(path), 1)


def test_a_member_that_unpacks_to_far_more_than_it_is_stays_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_MAX_FILE", 1000)
    path = archive(tmp_path / "x.zip", {"a/0.png": bytes(100_000), "b/0.png": picture(0)})
    with pytest.raises(InputError, match="more than 1000 bytes"):
        load_images(str(path), 2)


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_FILES", 3)
    path = archive(tmp_path / "x.zip", {f"a/{i}.png": picture(0) for i in range(4)})
    with pytest.raises(InputError, match="holds more than 3 files"):
        load_images(str(path), 2)
