"""CIFAR-10-C and ImageNet-C in their published layout: read by rows, and what is not theirs is refused."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from filterlens.errors import InputError
from filterlens.inputs.corruptions.folders import CifarC, ImageNetC
from filterlens.inputs.corruptions.severities import CORRUPTIONS, MADE
from filterlens.inputs.corruptions.sources import MadeHere, corrupted_images
from filterlens.inputs.images import Images

M = 4  # images of each severity


def images(n: int = M, *, side: int = 32, channels: int = 3) -> Images:
    pixels = np.random.default_rng(0).random((n, channels, side, side), dtype=np.float32)
    return Images("random", pixels, np.arange(n, dtype=np.int64))


def write_cifar_c(folder: Path, *, m: int = M, side: int = 32, labels: NDArray[np.int_] | None = None) -> Path:
    """Image i under corruption c of severity s is filled with 10 c + s + i."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(CORRUPTIONS):
        array = np.empty((5 * m, side, side, 3), dtype=np.uint8)
        for severity in range(5):
            array[severity * m : (severity + 1) * m] = (10 * place + severity + 1 + np.arange(m)).reshape(-1, 1, 1, 1)
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "labels.npy", np.tile(np.arange(m, dtype=np.uint8), 5) if labels is None else labels)
    return folder


def write_imagenet_c(folder: Path, *, side: int = 16) -> Path:
    for place, name in enumerate(CORRUPTIONS):
        for severity in range(1, 6):
            for label, word in enumerate(("n01440764", "n01443537")):
                where = folder / name / str(severity) / word
                where.mkdir(parents=True)
                for i in range(2):
                    level = 10 * place + severity + 40 * label + i
                    Image.new("RGB", (side, side), (level, level, level)).save(where / f"val_{i}.JPEG", quality=100)
    return folder


def test_cifar_c_is_read_by_corruption_severity_and_row(tmp_path: Path) -> None:
    found = CifarC(write_cifar_c(tmp_path / "CIFAR-10-C"), 3)
    assert found.labels.tolist() == [0, 1, 2]
    for place, name in enumerate(CORRUPTIONS):
        for severity in (1, 3, 5):
            rows = found.read(name, severity, slice(1, 3))
            assert rows.shape == (2, 32, 32, 3)
            assert rows[:, 0, 0, 0].tolist() == [10 * place + severity + 1, 10 * place + severity + 2]
    assert found.said == "CIFAR-10-C as published"


def test_only_the_rows_that_are_asked_for_are_in_memory(tmp_path: Path) -> None:
    folder = write_cifar_c(tmp_path / "c", m=400)
    found = CifarC(folder, 400)
    size = (folder / "fog.npy").stat().st_size
    tracemalloc.start()
    found.read("fog", 5, slice(0, 8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 20


def _object_array(folder: Path) -> None:
    np.save(folder / "fog.npy", np.array([{}] * 20, dtype=object), allow_pickle=True)


def _truncated(folder: Path) -> None:
    content = (folder / "fog.npy").read_bytes()
    (folder / "fog.npy").write_bytes(content[:-5])


def _declares_too_much(folder: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000, 32, 32, 3), }"
    (folder / "fog.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def _deep_header(folder: Path) -> None:
    header = b"(" * 60_000
    (folder / "fog.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def _nested_header(folder: Path) -> None:
    header = b"{'descr': " + b"[" * 3000
    (folder / "fog.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def _calls(folder: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os').system('touch zq7x')}"
    (folder / "fog.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def _pipe(folder: Path) -> None:
    (folder / "fog.npy").unlink()
    os.mkfifo(folder / "fog.npy")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: (folder / "fog.npy").unlink(), r"fog\.npy is missing: the folder is to hold labels"),
    "pickled": (_object_array, r"fog\.npy holds object of shape \(20,\); expected numbers"),
    "truncated": (_truncated, r"fog\.npy has \d+ bytes, which do not go with uint8 of shape"),
    "declares too much": (_declares_too_much, "expected numbers in C order, five severities"),
    "header too long": (_deep_header, r"fog\.npy cannot be read as \.npy"),
    "header too deep": (_nested_header, r"fog\.npy cannot be read as \.npy"),
    "header that calls": (_calls, r"fog\.npy cannot be read as \.npy"),
    "pipe": (_pipe, r"fog\.npy is missing"),
    "no array": (lambda folder: (folder / "fog.npy").write_text("fog"), r"fog\.npy cannot be read as \.npy"),
    "floats": (lambda f: np.save(f / "fog.npy", np.zeros((20, 32, 32, 3))), "holds float64 of shape"),
    "fewer": (
        lambda f: np.save(f / "fog.npy", np.zeros((15, 32, 32, 3), np.uint8)),
        r"expected uint8 of shape \(20, 32",
    ),
    "flat": (lambda f: np.save(f / "fog.npy", np.zeros((20, 3072), np.uint8)), r"expected uint8 of shape \(20, 32"),
    "Fortran": (
        lambda f: np.save(f / "fog.npy", np.asfortranarray(np.zeros((20, 32, 32, 3), np.uint8))),
        "expected numbers in C order",
    ),
    "no fifths": (lambda f: np.save(f / "labels.npy", np.zeros(19, np.uint8)), "five severities"),
    "labels differ": (lambda f: np.save(f / "labels.npy", np.arange(20)), "labels of its five severities differ"),
    "negative": (lambda f: np.save(f / "labels.npy", np.full(20, -1)), "or one is negative"),
    "labels are floats": (lambda f: np.save(f / "labels.npy", np.zeros(20)), "expected integers of shape"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_damaged_cifar_c_is_refused_with_its_file(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_cifar_c(tmp_path / "c")
    breaks, said = BROKEN[fault]
    breaks(folder)
    with pytest.raises(InputError, match=said):
        corrupted_images(images(), str(folder), seed=0)
    assert not (tmp_path / "zq7x").exists()


def test_imagenet_c_is_read_by_corruption_severity_and_class(tmp_path: Path) -> None:
    found = ImageNetC(write_imagenet_c(tmp_path / "c"), 4, seed=0)
    assert found.labels.tolist() == [0, 0, 1, 1]
    for place, name in enumerate(CORRUPTIONS):
        rows = found.read(name, 4, slice(1, 4))
        assert rows.shape == (3, 16, 16, 3)
        assert np.abs(rows[:, 0, 0, 0].astype(int) - (10 * place + 4 + np.array([1, 40, 41]))).max() <= 1


def test_imagenet_c_gives_the_same_images_of_every_folder_and_seed_chooses(tmp_path: Path) -> None:
    folder = write_imagenet_c(tmp_path / "c")
    kept = {seed: ImageNetC(folder, 2, seed=seed).labels.tolist() for seed in range(6)}
    assert len({str(labels) for labels in kept.values()}) > 1
    assert ImageNetC(folder, 2, seed=3).labels.tolist() == kept[3]


def test_imagenet_c_with_a_folder_or_an_image_missing_is_refused(tmp_path: Path) -> None:
    folder = write_imagenet_c(tmp_path / "c")
    (folder / "snow" / "2" / "n01440764" / "val_0.JPEG").unlink()
    with pytest.raises(InputError, match=r"val_0\.JPEG is missing: every folder of ImageNet-C is to hold the same"):
        ImageNetC(folder, 4, seed=0).read("snow", 2, slice(0, 4))
    (folder / "fog" / "5").rename(folder / "fog" / "6")
    with pytest.raises(InputError, match=r"lacks fog/5: all 15 corruptions"):
        ImageNetC(folder, 4, seed=0)


def test_a_folder_that_is_neither_and_one_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--corrupted .* is neither CIFAR-10-C nor ImageNet-C"):
        corrupted_images(images(), str(tmp_path), seed=0)
    folder = write_cifar_c(tmp_path / "c")
    with pytest.raises(InputError, match=r"holds images of 3x32x32, the run's images are 1x28x28"):
        corrupted_images(images(side=28, channels=1), str(folder), seed=0)


def test_images_that_are_made_here_depend_on_seed_and_image_and_on_no_batch() -> None:
    whole = MadeHere(images(), 7)
    assert whole.corruptions == MADE
    assert "without frost" in whole.said
    for name in ("gaussian_noise", "glass_blur", "fog"):
        every = whole.read(name, 2, slice(0, M))
        assert np.array_equal(every[1:3], whole.read(name, 2, slice(1, 3)))
        assert not np.array_equal(every, MadeHere(images(), 8).read(name, 2, slice(0, M)))
        assert not np.array_equal(every, whole.read(name, 3, slice(0, M)))


def test_many_images_are_made_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = MadeHere(images(), 0).read("fog", 3, slice(1, 3))
    monkeypatch.setattr("filterlens.inputs.corruptions.sources._KEPT_BYTES", 0)
    assert np.array_equal(kept, MadeHere(images(), 0).read("fog", 3, slice(1, 3)))
