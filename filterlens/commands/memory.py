"""Networks and images in memory, for commands that take catalogs and checkpoints: what a notebook has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterlens.catalogs import Catalog, Entry, load_catalog
from filterlens.errors import InputError
from filterlens.lens import RunSettings, all_scores
from filterlens.process.files import atomic_write

if TYPE_CHECKING:
    from torch import nn

    from filterlens.runs.config import RunConfig
    from filterlens.runs.executors import Executor

__all__ = ["as_catalog", "in_memory", "name_of", "reaching", "with_images"]

_ARRAYS = ("images", "labels")
_FACTS = ("eps", "mean", "std")


def name_of(source: str | Path | nn.Module) -> str:
    """Return what a source is called: a network by its class."""
    if isinstance(source, str | Path):
        return str(source)
    from filterlens.loaders.memory import unwrapped

    return type(unwrapped(source)).__name__


def reaching(executor: Executor, catalog: Iterable[Entry] = ()) -> Executor:
    """Return an executor whose processes have every model of a catalog, and every score.

    Raises
    ------
    InputError
        There are networks in memory, or scores that a script or a notebook declares, which other processes have not.
    """
    from filterlens.runs.executors import InProcess

    if isinstance(executor, InProcess):
        return executor
    if any(entry.source.startswith("memory:") for entry in catalog):
        raise InputError("networks in memory are looked at in this process: leave out jobs and executor")
    own = [score.name for score in all_scores().values() if getattr(score.compute, "__module__", "") == "__main__"]
    if own:
        raise InputError(
            f"other processes do not have scores that a script or a notebook declares ({', '.join(own)}): leave out "
            "jobs and executor, or declare them in a package with an entry point in `filterlens.scores`"
        )
    return executor


@contextmanager
def as_catalog(models: nn.Module | Mapping[str, nn.Module], facts: Mapping[str, Any]) -> Iterator[Catalog]:
    """Give a catalog of networks, which are held for the block.

    Parameters
    ----------
    models
        A network, which is called as its class, or several by name.
    facts
        Columns of them all, such as `eps`, `mean` and `std`.

    Raises
    ------
    InputError
        There is none, or something else than a network.
    CatalogError
        A name or a fact is wrong.
    """
    from torch import nn

    from filterlens.catalogs.trajectories import checkpoint_entry
    from filterlens.loaders.memory import held

    named = dict(models) if isinstance(models, Mapping) else {name_of(models): models}
    wrong = next((network for network in named.values() if not isinstance(network, nn.Module)), None)
    if wrong is not None or not named:
        got = "none" if wrong is None else f"a {type(wrong).__name__}"
        raise InputError(f"a name, a path, a torch.nn.Module or several by name were expected, got {got}")
    with held(named.values()) as sources:
        entries = [
            checkpoint_entry(name, source, **facts).model_copy(update={"architecture": name_of(network)})
            for (name, network), source in zip(named.items(), sources, strict=True)
        ]
        name = "-".join(dict.fromkeys(entry.architecture for entry in entries))
        yield Catalog(name, tuple(entries), Path.cwd())


@contextmanager
def in_memory(
    leaderboard: str | Path | Catalog | nn.Module | Mapping[str, nn.Module],
    folder: str | Path | None,
    options: Mapping[str, Any],
    settings: RunSettings | None,
    config: RunConfig | None,
) -> Iterator[tuple[str | Path | Catalog, str | Path | None, dict[str, Any], RunSettings | None]]:
    """Put a catalog in the place of networks, and a file in that of images; all else stays as it is.

    Parameters
    ----------
    leaderboard, folder, options, settings, config
        As `filterlens.extract` takes them.

    Yields
    ------
        The first four, without anything that only this process knows.

    Raises
    ------
    InputError, CatalogError
        As `as_catalog` and `with_images`; or images are given beside a configuration.
    """
    rest = dict(options)
    with ExitStack() as stack:
        if not isinstance(leaderboard, str | Path | Catalog):
            facts = {name: rest.pop(name) for name in _FACTS if name in rest}
            leaderboard = stack.enter_context(as_catalog(leaderboard, facts))
        if _has_arrays(rest):
            if config is not None:
                raise InputError("images in memory go with lenses and settings, not with a config")
            if folder is None:
                catalog = leaderboard if isinstance(leaderboard, Catalog) else load_catalog(leaderboard)
                folder = Path("reports") / catalog.name
            rest, settings = stack.enter_context(with_images(rest, settings, Path(folder)))
        yield leaderboard, folder, rest, settings


def _has_arrays(options: Mapping[str, Any]) -> bool:
    return "labels" in options or not isinstance(options.get("images"), int | None)


@contextmanager
def with_images(
    options: Mapping[str, Any], settings: RunSettings | None, folder: Path
) -> Iterator[tuple[dict[str, Any], RunSettings | None]]:
    """Take images and labels in memory out of options, and name them in the settings instead, as a file.

    Parameters
    ----------
    options
        Perhaps with `images`, an array or tensor of shape (n, channels, height, width) or (n, height, width, channels),
        uint8 or in [0, 1], and `labels`, integers of shape (n,).
    settings
        The run's.
    folder
        Where they are written, `images-DIGEST.npz`, so that the run can be repeated.

    Yields
    ------
        The other options, of which `images` says how many there are, and the settings.

    Raises
    ------
    InputError
        There are images without labels or the other way round, they are not what a lens takes, or `data` names others.
    """
    import numpy as np

    if not _has_arrays(options):
        yield dict(options), settings
        return
    images, labels = (options.get(name) for name in _ARRAYS)
    rest = {name: value for name, value in options.items() if name not in _ARRAYS}
    if images is None or isinstance(images, int) or labels is None:
        raise InputError(
            "images in memory go with labels: give images=… and labels=…, one integer an image "
            "(filterlens.measure takes images alone)"
        )
    settings = settings or RunSettings()
    if settings.data:
        raise InputError(f"images are given twice: in memory, and as data {settings.data!r}")
    from filterlens.inputs.arrays import as_images

    arrays = [np.asarray(value.detach().cpu() if hasattr(value, "detach") else value) for value in (images, labels)]
    checked = as_images("images", *arrays, where="images in memory")
    path = folder / f"images-{checked.digest[:12]}.npz"  # images of other audits of the folder stay
    is_new = not path.is_file()
    if is_new:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, images=checked.pixels, labels=checked.labels)
    try:
        yield {**rest, "images": len(checked)}, replace(settings, data=str(path))
    finally:
        if is_new and not (folder / "run.toml").is_file():  # the run was refused before it began
            path.unlink()
