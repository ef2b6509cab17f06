"""CIFAR-10 and CIFAR-100 test images, in any of the formats in which they are published."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import DownloadError, InputError
from filterlens.inputs.arrays import as_images
from filterlens.inputs.cifar_files import read_batch, read_member
from filterlens.inputs.images import Images
from filterlens.inputs.reading import read_regular
from filterlens.process.files import commit_file, temporary_path
from filterlens.process.interruption import forget_temporary

__all__ = ["DATASETS", "CifarFormat", "cifar_files", "fetch_cifar", "holds_cifar", "load_cifar"]

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_TIMEOUT = 30


@dataclass(frozen=True, slots=True)
class CifarFormat:
    """How one data set is published.

    Parameters
    ----------
    url, md5
        The archive; its digest is the one that torchvision checks.
    folder, binary
        Folders of the pickled and of the binary version.
    files
        File stems by split.
    key
        Key of the labels in a pickled batch.
    label_bytes
        Before each image of the binary version; the last is the class.
    classes
        How many there are.
    """

    url: str
    md5: str
    folder: str
    binary: str
    files: Mapping[str, Sequence[str]]
    key: str
    label_bytes: int
    classes: int


DATASETS: Final = {
    "cifar10": CifarFormat(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        binary="cifar-10-batches-bin",
        files={"test": ("test_batch",), "train": tuple(f"data_batch_{i}" for i in range(1, 6))},
        key="labels",
        label_bytes=1,
        classes=10,
    ),
    "cifar100": CifarFormat(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        binary="cifar-100-binary",
        files={"test": ("test",), "train": ("train",)},
        key="fine_labels",
        label_bytes=2,
        classes=100,
    ),
}


def holds_cifar(folder: Path) -> list[str]:
    """Names of the data sets that a folder holds or is."""
    return [
        name
        for name, form in DATASETS.items()
        if folder.name in {form.folder, form.binary}
        or (folder / form.folder).is_dir()
        or (folder / form.binary).is_dir()
        or (folder / Path(form.url).name).is_file()
    ]


def load_cifar(name: str, folder: Path, n: int, *, split: str = "test") -> Images:
    """Read the first n images of a split.

    Parameters
    ----------
    name
        `cifar10` or `cifar100`.
    folder
        Holds the pickled version (torchvision's, RobustBench's), the binary version, or the published archive; or is
        one of the first two. Pickles are read by a machine of ours, which runs nothing.
    n
        How many at most.
    split
        `test` or `train`.

    Raises
    ------
    InputError
        Nothing of that kind is there, or a file is damaged.
    """
    form = DATASETS[name]
    if split not in form.files:
        raise InputError(f"{name} has the splits {', '.join(form.files)}, not {split!r}")
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for stem in form.files[split]:
        if sum(map(len, labels)) < n:
            pixels, classes = _batch(form, folder, stem)
            images.append(pixels)
            labels.append(classes)
    loaded = as_images(name, np.concatenate(images)[:n], np.concatenate(labels)[:n], where=str(folder))
    if len(loaded) and int(loaded.labels.max()) >= form.classes:
        raise InputError(f"{folder}: label {int(loaded.labels.max())} is no class of {name}: the file is damaged")
    return loaded


def fetch_cifar(name: str, folder: Path) -> None:
    """Download the published archive into a folder, checked; nothing is left of a download that fails.

    Raises
    ------
    DownloadError
        There is no network, the folder cannot be written, or what came is not the archive.
    """
    form = DATASETS[name]
    target = folder / Path(form.url).name
    instead = f"put {target.name} (or {form.folder}/) into {folder} by hand, or give its folder with --data"
    digest = hashlib.md5(usedforsecurity=False)
    temporary = temporary_path(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(form.url, timeout=_TIMEOUT) as answer,  # noqa: S310 - a constant of this module
            temporary.open("xb") as file,
        ):
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != form.md5:
            raise DownloadError(f"{form.url} gave another file than expected (MD5 {digest.hexdigest()}): {instead}")
        commit_file(temporary, target)
    except OSError as error:
        raise DownloadError(f"{form.url} could not be downloaded ({error}): {instead}") from error
    finally:
        with contextlib.suppress(OSError):  # such as a parent that is no folder
            temporary.unlink(missing_ok=True)
        forget_temporary(temporary)


def cifar_files(name: str, folder: Path) -> list[tuple[str, Path]]:
    """Every file that images of either split come from, with what it holds of them."""
    form = DATASETS[name]
    stems = [stem for split in form.files.values() for stem in split]
    return [(stem, found) for stem in stems if (found := _file_of(form, folder, stem)) is not None]


def _file_of(form: CifarFormat, folder: Path, stem: str) -> Path | None:
    """File of a part of a split, of the first format that is there."""
    for root in (folder, folder / form.folder, folder / form.binary):
        for path in (root / stem, root / f"{stem}.bin"):
            if path.is_file():
                return path
    archive = folder / Path(form.url).name
    return archive if archive.is_file() else None


def _batch(form: CifarFormat, folder: Path, stem: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read one part of a split."""
    path = _file_of(form, folder, stem)
    if path is not None and path.name == stem:
        return read_batch(read_regular(path), form.key, str(path))
    if path is not None and path.suffix == ".bin":
        return _from_binary(read_regular(path), form.label_bytes, str(path))
    archive = folder / Path(form.url).name
    if path is not None:
        return read_batch(_member(archive, f"{form.folder}/{stem}"), form.key, f"{archive}:{stem}")
    raise InputError(
        f"{folder} holds neither {form.folder}/{stem} nor {form.binary}/{stem}.bin nor {archive.name}: "
        "give the folder that does with --data"
    )


def _member(archive: Path, name: str) -> bytes:
    """Read one member of an archive without unpacking it."""
    try:
        return read_member(archive, name)
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{archive} cannot be read ({error}): delete it, and it is downloaded again") from error


def _from_binary(content: bytes, label_bytes: int, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    size = label_bytes + _PIXELS
    if not content or len(content) % size:
        raise InputError(f"{where} has {len(content)} bytes, no multiple of {size}: it is damaged")
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    return rows[:, label_bytes:].reshape(-1, 3, _SIDE, _SIDE), rows[:, label_bytes - 1].astype(np.int64)
