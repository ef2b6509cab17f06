"""`train`: small networks on FONTS, the bundled zoo, and learned manifolds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterlens.catalogs import shipped_folder
from filterlens.commands.plan import BUNDLED
from filterlens.errors import InputError

if TYPE_CHECKING:
    from filterlens.training.loop import Step, Trained

__all__ = ["LearnedManifold", "train", "train_manifold", "train_zoo"]


def train(
    recipe: str,
    folder: str | Path | None = None,
    *,
    arch: str = "preact_resnet",
    seed: int = 0,
    checkpoints: bool = False,
    progress: Callable[[Step], None] | None = None,
    **plan: Any,  # noqa: ANN401 - fields of a `Plan`
) -> Trained:
    """Train a small network on FONTS, or go on with it where it was stopped.

    Parameters
    ----------
    recipe
        normal, pgd, half, fgsm, free, trades, on-manifold or transformations.
    folder
        For weights and log; `trained/RECIPE-ARCH-sSEED` where None.
    arch
        preact_resnet, resnet_strided, vgg_maxpool or wide_resnet_avgpool.
    seed
        Random seed.
    checkpoints
        Keep every epoch's weights.
    progress
        Called with a `Step` after every step.
    plan
        The other fields of `filterlens.training.Plan`, such as `epochs`, `images`, `eps`, `eta` or `device`.

    Returns
    -------
        The network, its log and the file of its weights.

    Raises
    ------
    InputError
        There is no such recipe or architecture, or a number is out of range.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.train("pgd", "trained/vgg", arch="vgg_maxpool", epochs=3)  # doctest: +SKIP
    """
    from filterlens.training.loop import TrainingPlan
    from filterlens.training.loop import train as run

    place = Path("trained") / f"{recipe}-{arch}-s{seed}" if folder is None else Path(folder)
    return run(TrainingPlan(recipe, arch, seed=seed, **plan), place, checkpoints=checkpoints, progress=progress)


def train_zoo(
    folder: str | Path | None = None, *, jobs: int = 2, progress: Callable[[str, int, int], None] | None = None
) -> Path:
    """Train every bundled model, measure it, and write weights, catalog and card.

    Parameters
    ----------
    folder
        For the weights; the catalog is written beside it. None writes the shipped zoo of a checkout.
    jobs
        Processes.
    progress
        Called as `progress(name, done, total)`.

    Returns
    -------
        The card's path.

    Raises
    ------
    InputError
        No folder is given, and this is no checkout of filterlens.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.train_zoo("trained/my-zoo")  # doctest: +SKIP
    """
    from filterlens.training.zoo import train_zoo as run

    place = shipped_folder() / BUNDLED if folder is None else Path(folder)
    if folder is None and not place.parent.joinpath("README.md").is_file():
        raise InputError("this is no checkout of filterlens: say with --out where the zoo is to go")
    return run(place, jobs=jobs, progress=progress)


@dataclass(frozen=True, slots=True)
class LearnedManifold:
    """A learned manifold's file, and the mean L2 error of its reconstructions of held-out images."""

    path: Path
    reconstruction_l2: float


def train_manifold(
    data: str = "fonts",
    folder: str | Path | None = None,
    *,
    images: int = 8000,
    epochs: int = 12,
    batch_size: int = 64,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int, dict[str, float]], None] = lambda *_: None,
) -> LearnedManifold:
    """Learn the manifold of a data set, for the manifold lens.

    Every tenth image is held out where the data set has no test split of its own.

    Parameters
    ----------
    data
        fonts, cifar10, cifar100, imagenet, a `.npz` or an image folder.
    folder
        For `manifold.safetensors`; `trained/manifold-DATA` where None.
    images
        How many to learn from, at most.
    epochs, batch_size, seed, device
        Of the training.
    progress
        Called as `progress(epoch, epochs, losses)`.

    Raises
    ------
    InputError
        The data cannot be read, or a number is out of range.

    Examples
    --------
    >>> import filterlens
    >>> learned = filterlens.train_manifold("cifar10", images=50_000)         # doctest: +SKIP
    >>> filterlens.audit("cifar10-linf", lenses=["manifold"], manifold=str(learned.path))  # doctest: +SKIP
    """
    from filterlens.inputs import load_split
    from filterlens.manifolds.fit import Fit, fit_manifold

    place = Path("trained") / f"manifold-{Path(data).stem}" if folder is None else Path(folder)
    path = place / "manifold.safetensors"
    train_images, held_out = load_split(data, images, seed=seed)
    fit = Fit(epochs=epochs, batch_size=batch_size, seed=seed, device=device)
    card: dict[str, Any] = fit_manifold(train_images, held_out, path, fit, progress=progress)
    return LearnedManifold(path, float(card["reconstruction_l2"]))
