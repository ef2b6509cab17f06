"""Images with labels, from wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, cast

from filterlens.errors import InputError
from filterlens.inputs.arrays import check_fits
from filterlens.inputs.images import Images
from filterlens.inputs.reading import is_there
from filterlens.inputs.resizing import resize_images
from filterlens.process.cache import cache_folder
from filterlens.process.digests import combined_digest, file_digest

__all__ = ["Images", "check_fits", "data_digest", "data_folders", "load_images", "resize_images"]

CIFAR: Final = ("cifar10", "cifar100")


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
    from filterlens.inputs.cifar import cifar_files
    from filterlens.inputs.folder import class_files
    from filterlens.inputs.fonts import fonts_digest
    from filterlens.inputs.imagenet import imagenet_files

    try:
        kind, path = _place(data, dataset, cache)
        if kind == "fonts":
            return f"{kind}:{fonts_digest(fonts)}"
        if kind == "npz":
            return f"{kind}:{file_digest(path)}"
        if kind in CIFAR:
            return f"{kind}:{combined_digest((stem, file_digest(file)) for stem, file in cifar_files(kind, path))}"
        files, _ = imagenet_files(path) if kind == "imagenet" else class_files(path)
        return f"{kind}:{combined_digest((f'{file.parent.name}/{file.name}', file_digest(file)) for file in files)}"
    except OSError as error:
        raise InputError(f"--data {data} cannot be read ({error})") from error


def _load(data: str, n: int, *, seed: int, dataset: str, cache: Path | None, fonts: Path | None, split: str) -> Images:
    if n < 1:
        raise InputError(f"{n} images are none: ask for at least one")
    kind, path = _place(data, dataset, cache)
    if kind == "fonts":
        from filterlens.inputs.fonts import load_fonts

        return load_fonts(n, seed, fonts=fonts, split=cast("Literal['train', 'test']", split))
    if kind in CIFAR:
        from filterlens.inputs.cifar import load_cifar

        return load_cifar(kind, path, n, split=split)
    if kind == "npz":
        from filterlens.inputs.npz import load_npz

        return load_npz(path, n)
    if kind == "imagenet":
        from filterlens.inputs.imagenet import load_imagenet

        return load_imagenet(path, n, seed=seed)
    from filterlens.inputs.folder import load_folder

    return load_folder(path, n, seed=seed)


def _place(data: str, dataset: str, cache: Path | None) -> tuple[str, Path]:
    """Kind of the data of that name, and where they lie; CIFAR that is nowhere is fetched."""
    from filterlens.inputs.cifar import fetch_cifar, holds_cifar

    places = data_folders() if cache is None else (cache,)
    path = Path(data)
    if data == "fonts":
        return data, Path()
    if data in CIFAR:
        found = [place for place in places if data in holds_cifar(place)]
        if not found:
            fetch_cifar(data, places[0])
        return data, (found or places)[0]
    if data == "imagenet":
        folders = [place / "imagenet" for place in places]
        return data, next((folder for folder in folders if folder.is_dir()), folders[0])
    if not data or not is_there(path):
        raise InputError(
            f"--data {data!r} is neither a data set (fonts, cifar10, cifar100, imagenet) nor a .npz file or folder "
            "that exists"
        )
    if not path.is_dir():
        return "npz", path
    if names := holds_cifar(path):
        return dataset if dataset in names else names[0], path
    return "imagenet" if dataset == "imagenet" else "folder", path
