"""Which manifold an extraction measures against."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from filterlens.errors import InputError
from filterlens.inputs import Images, data_digest, load_images
from filterlens.inputs.reading import is_there
from filterlens.lens import RunSettings
from filterlens.manifolds.fonts import Fonts
from filterlens.manifolds.learned import load_learned, load_module_pair
from filterlens.manifolds.neighbours import Neighbours
from filterlens.manifolds.protocol import Manifold

__all__ = ["choose_manifold", "training_images"]

_KNOWN = {"fonts": 10_000, "cifar10": 50_000, "cifar100": 50_000}  # training images, as many as the papers use
_BYTES = 2 << 30  # of other data that are kept as neighbours


def choose_manifold(
    name: str,
    images: Images,
    dataset: str,
    settings: RunSettings,
    *,
    starts: int = 3,
    iterations: int = 80,
    same_class: bool = False,
) -> Manifold:
    """Make the manifold of that name.

    Parameters
    ----------
    name
        `fonts`, `neighbours`, a learned decoder's file or `module:…`; empty takes `fonts` for images whose latents
        are known and `neighbours` for others.
    images
        The clean images.
    dataset
        The catalog's data set, where `settings.data` names none.
    settings
        The run's device, data, seed and fonts.
    starts, iterations
        Settings of the search for the nearest point.
    same_class
        Of neighbours, see `Neighbours`.

    Raises
    ------
    InputError
        There is no such manifold, or it does not suit the images.
    CheckpointError
        The learned decoder's file is missing or damaged.
    """
    name = name or ("neighbours" if images.latents is None else "fonts")
    if name == "fonts":
        if images.latents is None:
            raise InputError(f"--manifold fonts needs FONTS images, not {images.name}; use --manifold neighbours")
        return Fonts(device=settings.device, fonts=settings.fonts, starts=starts, iterations=iterations)
    if name == "neighbours":
        pool = training_images(images, dataset, settings)
        return Neighbours(
            torch.from_numpy(pool.pixels).to(settings.device),
            torch.from_numpy(pool.labels).to(settings.device),
            same_class=same_class,
        )
    if name.startswith("module:"):
        return load_module_pair(name, device=settings.device, iterations=iterations)
    if not Path(name).suffix and not is_there(Path(name)):
        raise InputError(
            f"no manifold is called {name!r}: use fonts, neighbours, the file of a learned decoder or "
            "module:package.mod:factory"
        )
    return load_learned(Path(name), device=settings.device, iterations=iterations)


def training_images(images: Images, dataset: str, settings: RunSettings) -> Images:
    """Return the images among which neighbours are looked for.

    The training split of FONTS (10 000 images) and CIFAR; of any other source, what it holds beside `images`, up to
    2 GB.

    Raises
    ------
    InputError
        Nothing is left.
    """
    data = settings.data or dataset
    if data in _KNOWN:
        return _load(data, _KNOWN[data], seed=settings.seed, dataset=dataset, fonts=settings.fonts, split="train")
    n = max(1, _BYTES // images.pixels[0].nbytes)
    every = _load(data, n, seed=settings.seed, dataset=dataset, fonts=settings.fonts, split="test")
    attacked = {row.tobytes() for row in images.pixels}
    rest = np.array([row.tobytes() not in attacked for row in every.pixels], dtype=bool)
    if not rest.any():
        raise InputError(
            f"{data} holds {len(every)} images and all of them are attacked: neighbours need further ones; "
            "attack fewer with --images, or give a file with more"
        )
    return Images(every.name, every.pixels[rest], every.labels[rest])


def _load(data: str, n: int, *, seed: int, dataset: str, fonts: Path | None, split: str) -> Images:
    content = data_digest(data, dataset=dataset, fonts=fonts)
    return _loaded(content, data, n, seed=seed, dataset=dataset, fonts=fonts, split=split)


@lru_cache(maxsize=1)
def _loaded(_content: str, data: str, n: int, *, seed: int, dataset: str, fonts: Path | None, split: str) -> Images:
    return load_images(data, n, seed=seed, dataset=dataset, fonts=fonts, split=split)
