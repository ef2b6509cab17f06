"""ImageNet validation images, cropped as RobustBench does by default."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.arrays import as_images
from filterlens.inputs.folder import class_files, read_images
from filterlens.inputs.images import Images

__all__ = ["choose_imagenet", "imagenet_files", "load_imagenet"]

_CROP = (256, 224)


def load_imagenet(folder: Path, n: int, *, seed: int = 0) -> Images:
    """Read n validation images, resized to 256 and cropped to 224.

    Where the folder holds the images of RobustBench's list of 5000, they are chosen from that list; otherwise from
    all images.

    Parameters
    ----------
    folder
        One subfolder a class, named by WordNet id (`n01440764`, …), or the folder above (`val/`).
    n
        How many at most.
    seed
        Chooses which.

    Raises
    ------
    InputError
        The folder is not there or is no ImageNet, or a file is no image.
    """
    files, labels = choose_imagenet(folder, n, seed=seed)
    pixels = read_images(files, where=str(folder), crop=_CROP, colour=True)
    return as_images("imagenet", pixels, labels, where=str(folder))


def choose_imagenet(folder: Path, n: int, *, seed: int = 0) -> tuple[list[Path], NDArray[np.int64]]:
    """Choose n images as `load_imagenet` does, without reading them.

    Parameters
    ----------
    folder, n, seed
        As `load_imagenet` takes them.

    Returns
    -------
        Files and their classes, sorted by class; the same names for folders that hold the same names.

    Raises
    ------
    InputError
        The folder is not there or is no ImageNet.
    """
    files, labels = imagenet_files(folder)
    listed = _robustbench_subset()
    keep = [i for i, path in enumerate(files) if f"{path.parent.name}/{path.name}" in listed]
    pool = np.asarray(keep if len(keep) >= min(n, len(listed)) else range(len(files)))
    chosen = pool[np.sort(np.random.default_rng(seed).permutation(len(pool))[:n])]
    return [files[i] for i in chosen], np.asarray(labels, dtype=np.int64)[chosen]


def imagenet_files(folder: Path) -> tuple[list[Path], list[int]]:
    """List the images of a folder, or of its `val/`, and their classes, as `class_files` does.

    Raises
    ------
    InputError
        The folder is not there or is no ImageNet.
    """
    folder = folder / "val" if (folder / "val").is_dir() else folder
    if not folder.is_dir():
        raise InputError(
            f"ImageNet's validation images are not in {folder}: they cannot be downloaded without an account; "
            "unpack them into one folder a class (n01440764, …) and give that folder with --data"
        )
    return class_files(folder, _class_ids())


def _helper_file(name: str) -> Path:
    """One of RobustBench's lists, without importing it."""
    spec = find_spec("robustbench")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            'ImageNet\'s class list comes with robustbench, which is not installed: pip install "filterlens[audit]"'
        )
    return Path(spec.submodule_search_locations[0]) / "helper_files" / name


@lru_cache(maxsize=1)
def _class_ids() -> dict[str, int]:
    found: dict[str, int] = json.loads(_helper_file("imagenet_class_to_id_map.json").read_text("utf-8"))
    return found


@lru_cache(maxsize=1)
def _robustbench_subset() -> frozenset[str]:
    lines = _helper_file("imagenet_test_image_ids.txt").read_text("utf-8").split()
    return frozenset("/".join(line.split("/")[-2:]) for line in lines)
