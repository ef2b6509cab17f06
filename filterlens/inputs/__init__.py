"""Images with labels, from wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, cast

import numpy as np

from filterlens.errors import DownloadError, InputError
from filterlens.inputs.arrays import check_fits
from filterlens.inputs.images import BUNDLED_CIFAR10, Images
from filterlens.inputs.published import find_published
from filterlens.inputs.reading import is_there
from filterlens.inputs.resizing import resize_images
from filterlens.inputs.zipped import is_zip
from filterlens.process.cache import cache_folder
from filterlens.process.digests import combined_digest, file_digest

__all__ = ["Images", "check_fits", "data_digest", "data_folders", "load_images", "load_split", "resize_images"]

CIFAR: Final = ("cifar10", "cifar100")
NAMED: Final = ("fonts", *CIFAR, BUNDLED_CIFAR10, "imagenet")


def load_images(
    data: str,
    n: int,
    *,
    seed: int = 0,
    dataset: str = "",
    cache: Path | None = None,
    fonts: Path | None = None,
    split: str = "test",
) -> Images:
    """Load labelled images by name or path.

    Parameters
    ----------
    data
        `fonts`, `cifar10`, `cifar100`, `imagenet`; `cifar10-bundled-512`, the test images of CIFAR-10 that come with
        the package; the path of a `.npz` with `images` and `labels`; or a folder: a
        CIFAR one, MNIST's IDX files (Fashion-MNIST, EMNIST, …; one of several sets by its file of images), CelebA (by
        another attribute than `Male` with `?attribute=NAME`), ImageNet's validation images, or one subfolder a class,
        perhaps below `train/` and `test/`; or a `.zip` archive of such a folder.
    n
        How many at most. Folders with one subfolder a class give a choice by seed, all others their first n, as the
        papers do.
    seed
        Random seed of the choice, and of FONTS' transformations.
    dataset
        The data set that the model was trained on: `imagenet` crops a folder's images as ImageNet's.
    cache
        Where named data sets are looked for, and downloaded to where a network is; None searches `data_folders()`.
    fonts
        Folder of `.ttf` files for FONTS.
    split
        `test` or `train`, where the data set has both.

    Raises
    ------
    InputError
        There is nothing of that name, or the images are of a wrong shape, type or range.
    DownloadError
        The data set is not here and cannot be fetched. For test images of CIFAR-10 the 512 that come with the package
        are given instead, under a name of their own, unless `cache` is given.
    """
    try:
        if n >= 1 and data not in NAMED and (found := find_published(data)) is not None:
            return found.load(n, split=split)
        return _load(data, n, seed=seed, dataset=dataset, cache=cache, fonts=fonts, split=split)
    except (OSError, MemoryError) as error:
        reason = str(error) or "memory ran out: use fewer images (--images)"
        raise InputError(f"--data {data} cannot be read ({reason})") from error


def load_split(
    data: str, n: int, held_out: int = 1000, *, seed: int = 0, cache: Path | None = None, fonts: Path | None = None
) -> tuple[Images, Images]:
    """Load images to learn from, and others to test on.

    Parameters
    ----------
    data, cache, fonts
        As `load_images` takes them. FONTS, published data sets, and folders and archives with `train/` and `test/`
        give images of these splits; of other sources every tenth image is held out.
    n, held_out
        How many of either, at most, and no more to test on than to learn from; where every tenth is held out, n counts
        both.
    seed
        Random seed of the choice of training images, and of FONTS' transformations.

    Raises
    ------
    InputError, DownloadError
        As `load_images`.
    """
    train = load_images(data, n, seed=seed, cache=cache, fonts=fonts, split="train")
    if _has_splits(data, cache):
        return train, load_images(data, min(n, held_out), cache=cache, fonts=fonts)
    held = np.arange(len(train)) % 10 == 9
    return (
        Images(train.name, train.pixels[~held], train.labels[~held]),
        Images(train.name, train.pixels[held], train.labels[held]).first(held_out),
    )


def _has_splits(data: str, cache: Path | None) -> bool:
    """Whether data have images to learn from and others to test on."""
    from filterlens.inputs.folder import has_splits

    if data not in NAMED and (found := find_published(data)) is not None:
        return found.has_splits
    kind, path = _place(data, "", cache, split="train")
    return kind in {"fonts", *CIFAR} or (kind == "folder" and has_splits(path))


def data_folders() -> tuple[Path, ...]:
    """Where named data sets are looked for: the cache, then `./data`, as torchvision and RobustBench have it."""
    return cache_folder() / "data", Path("data")


def data_digest(data: str, *, dataset: str = "", cache: Path | None = None, fonts: Path | None = None) -> str:
    """Digest everything that images can be made of, whatever it is called and wherever it lies.

    Parameters
    ----------
    data, dataset, cache, fonts
        As `load_images` takes them.

    Returns
    -------
        The kind of data, a colon, and the SHA-256 of its files' contents.

    Raises
    ------
    InputError, DownloadError
        There is nothing of that name, or it cannot be read or fetched.
    """
    try:
        if data not in NAMED and (found := find_published(data)) is not None:
            return found.digest()
        return _digest(data, dataset, cache, fonts)
    except OSError as error:
        raise InputError(f"--data {data} cannot be read ({error})") from error


def _digest(data: str, dataset: str, cache: Path | None, fonts: Path | None) -> str:
    from filterlens.inputs.cifar import cifar_files
    from filterlens.inputs.folder import SPLITS, class_files, has_splits
    from filterlens.inputs.fonts import fonts_digest
    from filterlens.inputs.imagenet import imagenet_files

    kind, path = _place(data, dataset, cache)
    if kind == "fonts":
        return f"{kind}:{fonts_digest(fonts)}"
    if kind == "npz" or path.is_file():
        return f"{kind}:{file_digest(path)}"
    if kind in CIFAR:
        return f"{kind}:{combined_digest((stem, file_digest(file)) for stem, file in cifar_files(kind, path))}"
    if kind == "folder" and has_splits(path):
        files = [file for split in SPLITS for file in class_files(path / split)[0]]
        named = ((file.relative_to(path).as_posix(), file_digest(file)) for file in files)
        return f"{kind}:{combined_digest(named)}"
    files, _ = imagenet_files(path) if kind == "imagenet" else class_files(path)
    return f"{kind}:{combined_digest((f'{file.parent.name}/{file.name}', file_digest(file)) for file in files)}"


def _load(data: str, n: int, *, seed: int, dataset: str, cache: Path | None, fonts: Path | None, split: str) -> Images:
    if n < 1:
        raise InputError(f"{n} images are none: ask for at least one")
    kind, path = _place(data, dataset, cache, split=split)
    if kind == "fonts":
        from filterlens.inputs.fonts import load_fonts

        return load_fonts(n, seed, fonts=fonts, split=cast("Literal['train', 'test']", split))
    if kind in CIFAR:
        from filterlens.inputs.cifar import load_cifar

        return load_cifar(kind, path, n, split=split)
    if kind == "bundled":
        from filterlens.inputs.bundled import bundled_cifar10

        if split != "test":
            raise InputError(f"--data {BUNDLED_CIFAR10} has test images only: nothing is to be learnt from them")
        return bundled_cifar10(n)
    if kind == "npz":
        from filterlens.inputs.npz import load_npz

        return load_npz(path, n)
    if kind == "imagenet":
        from filterlens.inputs.imagenet import load_imagenet

        return load_imagenet(path, n, seed=seed)
    from filterlens.inputs.folder import load_folder

    return load_folder(path, n, seed=seed, split=split)


def _place(data: str, dataset: str, cache: Path | None, *, split: str = "test") -> tuple[str, Path]:
    """Kind of the data of that name, and where they lie; CIFAR that is nowhere is fetched.

    Where CIFAR-10 cannot be fetched, its test images are those that come with the package.
    """
    from filterlens.inputs.bundled import bundled_file
    from filterlens.inputs.cifar import holds_cifar

    places = data_folders() if cache is None else (cache,)
    path = Path(data)
    packaged = {"fonts": ("fonts", Path()), BUNDLED_CIFAR10: ("bundled", bundled_file())}
    if data in packaged:
        return packaged[data]
    if data in CIFAR:
        found = [place for place in places if data in holds_cifar(place)]
        return (data, found[0]) if found else _fetched(data, places[0], bundled=split == "test" and cache is None)
    if data == "imagenet":
        folders = [place / "imagenet" for place in places]
        return data, next((folder for folder in folders if folder.is_dir()), folders[0])
    if not data or not is_there(path):
        raise InputError(
            f"--data {data!r} is neither a data set ({', '.join(NAMED)}) nor a .npz or .zip file or folder that exists"
        )
    if not path.is_dir():
        return "folder" if is_zip(path) else "npz", path
    if names := holds_cifar(path):
        return dataset if dataset in names else names[0], path
    return "imagenet" if dataset == "imagenet" else "folder", path


def _fetched(data: str, place: Path, *, bundled: bool) -> tuple[str, Path]:
    """Fetch CIFAR; where that fails and it may be `bundled`, name the images that come with the package."""
    from filterlens.inputs.bundled import bundled_file
    from filterlens.inputs.cifar import fetch_cifar

    try:
        fetch_cifar(data, place)
    except DownloadError:
        if data != "cifar10" or not bundled:
            raise
        return "bundled", bundled_file()
    return data, place
