"""Images from `.npz`: every layout and type that is understood, and every one that is not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filterlens.errors import FilterlensError, InputError
from filterlens.inputs import check_fits, load_images
from filterlens.inputs.images import Images

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
LABELS = np.arange(6) % 4


def save(folder: Path, **arrays: Any) -> str:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_every_layout_and_type_gives_the_same_images(tmp_path: Path, first: bool, dtype: str) -> None:
    array = BYTES if dtype == "uint8" else (BYTES / 255).astype(dtype)
    array = array.transpose(0, 3, 1, 2) if first else array
    found = load_images(save(tmp_path, images=array, labels=LABELS), 4)
    assert found.name == "mine"
    assert found.pixels.dtype == np.float32
    assert found.labels.dtype == np.int64
    np.testing.assert_allclose(
        found.pixels, BYTES[:4].transpose(0, 3, 1, 2) / 255, atol=1e-3 if dtype == "float16" else 1e-7
    )
    np.testing.assert_array_equal(found.labels, LABELS[:4])


def test_more_than_there_are_gives_all(tmp_path: Path) -> None:
    assert len(load_images(save(tmp_path, images=BYTES, labels=LABELS.astype("u1")), 100)) == 6


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (BYTES[0], LABELS[:5], r"images have shape \(5, 7, 3\); expected \(n, height, width, channels\)"),
        (BYTES[..., :2], LABELS, r"images have shape \(6, 5, 7, 2\); expected one or three channels"),
        (np.zeros((6, 3, 5, 3), "u1"), LABELS, "may be NHWC or NCHW; the channels cannot be told"),
        (BYTES.astype("i4"), LABELS, r"images are of type int32; expected uint8, or floats in \[0, 1\]"),
        (BYTES.astype("f4"), LABELS, r"float images lie in \[0, 255\]; expected \[0, 1\] without normalisation"),
        (BYTES / 255 - 0.5, LABELS, r"float images lie in \[-0.5, 0.5\]"),
        (np.full(BYTES.shape, np.nan), LABELS, r"float images lie in \[nan, nan\]"),
        (BYTES, LABELS[:5], "holds 6 images but 5 labels: give one label an image"),
        (BYTES, LABELS.astype("f4"), r"labels have type float32 and shape \(6,\); expected integers"),
        (BYTES, np.eye(6, dtype=int), r"labels have type int64 and shape \(6, 6\)"),
        (BYTES, LABELS - 1, "label -1 is negative"),
        (BYTES[:0], LABELS[:0], r"images have shape \(0, 5, 7, 3\)"),
        (np.uint8(1), LABELS, r"images have shape \(\)"),
    ],
)
def test_wrong_arrays_are_refused_in_one_line(tmp_path: Path, images: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_images(save(tmp_path, images=images, labels=labels), 10)


def test_a_missing_array_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the array 'labels'; it holds images, targets"):
        load_images(save(tmp_path, images=BYTES, targets=LABELS), 10)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("was-run"),)


def test_a_pickled_array_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read as \.npz .*allow_pickle"):
        load_images(save(tmp_path, images=np.array([Bomb()], dtype=object), labels=LABELS), 10)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match=r"cannot be read as \.npz"):
        load_images("pickle.npz", 10)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = Path(save(tmp_path, images=BYTES, labels=LABELS))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"mine\.npz cannot be read as \.npz"):
        load_images(str(path), 10)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_whatever_is_flipped_only_errors_of_ours_come_out(tmp_path: Path, place: float, mask: int) -> None:
    path = Path(save(tmp_path, images=BYTES, labels=LABELS))
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= mask
    path.write_bytes(content)
    try:
        found = load_images(str(path), 10)
    except FilterlensError:
        return
    assert found.pixels.shape[1] in {1, 3}


@pytest.mark.parametrize("data", ["", "nothing.npz", "a\0b", "x" * 5000])
def test_data_that_are_not_there_are_refused_with_what_there_is(data: str) -> None:
    with pytest.raises(InputError, match=r"is neither a data set .fonts, cifar10, cifar100, cifar10-bundled-512"):
        load_images(data, 3)


def test_no_images_are_refused() -> None:
    with pytest.raises(InputError, match="0 images are none"):
        load_images("fonts", 0)


def test_fonts_come_by_name() -> None:
    found = load_images("fonts", 5, seed=3)
    assert found.pixels.shape == (5, 1, 28, 28)
    assert found.digest == load_images("fonts", 5, seed=3).digest
    assert found.digest != load_images("fonts", 5, seed=4).digest


IMAGES = Images("mine", np.zeros((2, 3, 8, 8), np.float32), np.array([0, 9]))


def test_images_that_fit_pass() -> None:
    check_fits(IMAGES, (3, 8, 8), 10)
    check_fits(IMAGES, None)


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 8, 9)])
def test_images_of_another_size_are_refused(size: tuple[int, int, int]) -> None:
    wanted = "x".join(map(str, size))
    with pytest.raises(InputError, match=f"images of mine are 3x8x8 but the model takes {wanted}"):
        check_fits(IMAGES, size)


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(InputError, match="mine has label 9 but the model has 9 classes"):
        check_fits(IMAGES, None, 9)


@pytest.mark.realdata
def test_the_real_images_load(realdata: Path) -> None:
    found = load_images(str(realdata / "cifar10_test_1000.npz"), 1000)
    assert found.pixels.shape == (1000, 3, 32, 32)
    assert np.bincount(found.labels).tolist() == [100] * 10
