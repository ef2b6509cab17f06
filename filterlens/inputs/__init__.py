"""Images with labels, from wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from filterlens.errors import InputError
from filterlens.inputs.arrays import check_fits
from filterlens.inputs.images import Images
from filterlens.inputs.reading import is_there
from filterlens.process.cache import cache_folder

__all__ = ["Images", "check_fits", "data_folders", "load_images"]


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
        `fonts`, `cifar10`, `cifar100`, `imagenet`; the path of a `.npz` with `images` and `labels`; or a folder: a
        CIFAR one, ImageNet's validation images, or one subfolder a class.
    n
        How many at most. A `.npz` and CIFAR give their first n, as the papers do; folders, which are sorted by class,
        a choice by seed.
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
        The data set is not here and cannot be fetched.
    """
    try:
        return _load(data, n, seed=seed, dataset=dataset, cache=cache, fonts=fonts, split=split)
    except (OSError, MemoryError) as error:
        reason = str(error) or "memory ran out: use fewer images (--images)"
        raise InputError(f"--data {data} cannot be read ({reason})") from error


def data_folders() -> tuple[Path, ...]:
    """Where named data sets are looked for: the cache, then `./data`, as torchvision and RobustBench have it."""
    return cache_folder() / "data", Path("data")


def _load(data: str, n: int, *, seed: int, dataset: str, cache: Path | None, fonts: Path | None, split: str) -> Images:
    if n < 1:
        raise InputError(f"{n} images are none: ask for at least one")
    if data == "fonts":
        from filterlens.inputs.fonts import load_fonts

        return load_fonts(n, seed, fonts=fonts, split=cast("Literal['train', 'test']", split))
    if data in {"cifar10", "cifar100"}:
        return _named_cifar(data, n, cache, split)
    if data == "imagenet":
        return _named_imagenet(n, seed, cache)
    path = Path(data)
    if not data or not is_there(path):
        raise InputError(
            f"--data {data!r} is neither a data set (fonts, cifar10, cifar100, imagenet) nor a .npz file or folder "
            "that exists"
        )
    if path.is_dir():
        return _from_folder(path, n, seed, dataset, split)
    from filterlens.inputs.npz import load_npz

    return load_npz(path, n)


def _named_cifar(name: str, n: int, cache: Path | None, split: str) -> Images:
    from filterlens.inputs.cifar import fetch_cifar, holds_cifar, load_cifar

    places = data_folders() if cache is None else (cache,)
    for place in places:
        if name in holds_cifar(place):
            return load_cifar(name, place, n, split=split)
    fetch_cifar(name, places[0])
    return load_cifar(name, places[0], n, split=split)


def _named_imagenet(n: int, seed: int, cache: Path | None) -> Images:
    from filterlens.inputs.imagenet import load_imagenet

    places = [place / "imagenet" for place in (data_folders() if cache is None else (cache,))]
    return load_imagenet(next((place for place in places if place.is_dir()), places[0]), n, seed=seed)


def _from_folder(path: Path, n: int, seed: int, dataset: str, split: str) -> Images:
    from filterlens.inputs.cifar import holds_cifar, load_cifar
    from filterlens.inputs.folder import load_folder
    from filterlens.inputs.imagenet import load_imagenet

    names = holds_cifar(path)
    if names:
        return load_cifar(dataset if dataset in names else names[0], path, n, split=split)
    return load_imagenet(path, n, seed=seed) if dataset == "imagenet" else load_folder(path, n, seed=seed)
