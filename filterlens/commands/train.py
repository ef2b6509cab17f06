"""`train`: small networks on FONTS or photographs, the bundled zoos, and learned manifolds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterlens.catalogs import shipped_folder
from filterlens.errors import InputError
from filterlens.process.extras import require_audit

if TYPE_CHECKING:
    from filterlens.training.loop import Step, Trained

__all__ = ["LearnedManifold", "train", "train_manifold", "train_zoo"]


def train(
    recipe: str,
    folder: str | Path | None = None,
    *,
    arch: str = "preact_resnet",
    data: str = "fonts",
    seed: int = 0,
    checkpoints: bool = False,
    progress: Callable[[Step], None] | None = None,
    **plan: Any,  # noqa: ANN401 - fields of a `Plan`
) -> Trained:
    """Train a small network, or go on with it where it was stopped.

    Parameters
    ----------
    recipe
        normal, pgd, half, fgsm, free, trades, mart, awp, on-manifold or transformations.
    folder
        For weights and log; `trained/RECIPE-ARCH-sSEED` where None.
    arch
        preact_resnet, resnet_strided, vgg_maxpool or wide_resnet_avgpool.
    data
        fonts; or photographs as `filterlens.inputs.load_split` takes them: cifar10, cifar100, a `.npz`, a folder or a
        `.zip` archive. With photographs a plan begins from `TrainingPlan.for_photographs`: ε = 8/255, 50,000 images,
        random crops, SGD with a cyclic rate, a wider network.
    seed
        Random seed.
    checkpoints
        Keep every epoch's weights.
    progress
        Called with a `Step` after every step.
    plan
        Other fields of `filterlens.training.TrainingPlan`, such as `epochs`, `images`, `eps`, `eta` or `device`.

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
    >>> filterlens.train("fgsm", "trained/cifar", data="cifar10", arch="vgg_maxpool")  # doctest: +SKIP
    """
    require_audit()
    from filterlens.training.loop import train as run
    from filterlens.training.plan import TrainingPlan

    named = f"{recipe}-{arch}-s{seed}" if data == "fonts" else f"{Path(data).stem}-{recipe}-{arch}-s{seed}"
    place = Path("trained") / named if folder is None else Path(folder)
    settings = {"seed": seed, **plan}
    if data == "fonts":
        what = TrainingPlan(recipe, arch, **settings)
    else:
        what = TrainingPlan.for_photographs(recipe, arch, data, **settings)
    return run(what, place, checkpoints=checkpoints, progress=progress)


def train_zoo(
    folder: str | Path | None = None,
    *,
    zoo: str = "fonts-linf",
    data: str = "",
    pairs: int | None = None,
    jobs: int = 2,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Train the networks of a bundled zoo, measure them, and write weights, catalog and card.

    What is trained already, in `trained/`, is not trained again; a training that was stopped goes on.

    Parameters
    ----------
    folder
        For the weights; the catalog is written beside it. None writes the shipped zoo of a checkout.
    zoo
        fonts-linf or cifar10-small.
    data
        Where CIFAR-10 is: a folder, or an archive with `train/` and `test/`; empty looks for `cifar10`.
    pairs
        Only the first so many matched pairs.
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
        There is no such zoo, or no folder is given and this is no checkout of filterlens.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.train_zoo("trained/my-zoo")  # doctest: +SKIP
    >>> filterlens.train_zoo("trained/small", zoo="cifar10-small", data="cifar10.zip", pairs=2)  # doctest: +SKIP
    """
    require_audit()
    from filterlens.training.cifar_zoo import CIFAR_ZOO
    from filterlens.training.fonts_zoo import FONTS_ZOO
    from filterlens.training.zoo import train_zoo as run

    zoos = {known.name: known for known in (FONTS_ZOO, CIFAR_ZOO)}
    if zoo not in zoos:
        raise InputError(f"there is no zoo {zoo!r} to train: choose one of {', '.join(zoos)}")
    if data and zoo == FONTS_ZOO.name:
        raise InputError(f"{zoo} is trained on FONTS, not on --data {data}: that is for {CIFAR_ZOO.name}")
    place = shipped_folder() / zoo if folder is None else Path(folder)
    if folder is None and not place.parent.joinpath("README.md").is_file():
        raise InputError("this is no checkout of filterlens: say with --out where the zoo is to go")
    images = 200 if zoo == FONTS_ZOO.name else 512
    return run(zoos[zoo], place, data=data, pairs=pairs, jobs=jobs, images=images, progress=progress)


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
    latents: int = 10,
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
    latents
        Dimensions of the manifold.
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
    require_audit()
    from filterlens.inputs import load_split
    from filterlens.manifolds.fit import Fit, fit_manifold

    place = Path("trained") / f"manifold-{Path(data).stem}" if folder is None else Path(folder)
    path = place / "manifold.safetensors"
    train_images, held_out = load_split(data, images, seed=seed)
    fit = Fit(epochs=epochs, batch_size=batch_size, latent=latents, seed=seed, device=device)
    card: dict[str, Any] = fit_manifold(train_images, held_out, path, fit, progress=progress)
    return LearnedManifold(path, float(card["reconstruction_l2"]))
