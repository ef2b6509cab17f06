"""The register of lenses. A lens = extractor, analyzer, figures and scores under one name.

Third parties add a lens through the entry point group `filterlens.lenses`, which names a `Lens`. Functions are
named by path and imported when they are called, so that listing lenses imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from filterlens.errors import InputError
from filterlens.scores import Score, register

__all__ = ["Lens", "all_lenses", "get_lens", "resolve"]


@dataclass(frozen=True, slots=True)
class Lens:
    """One paper's way of looking at a model.

    Parameters
    ----------
    name
        Its HDF5 group, its `--lens` value, its `lens` in the score table.
    extract
        `module:function`, called as `extract(model, entry, images, settings, group, progress)`: the loaded model,
        its catalog entry, `Images` or None, `Settings`, the `WritableGroup` to fill, and `progress(done, total)`.
        It raises `LensSkipped` where the lens does not apply.
    analyze
        `module:function`, called as `analyze(group)` with a `DumpGroup`; returns a list of dictionaries with the
        columns of the score table less `model_id` and `lens`.
    pool
        `module:function` over a whole run, or empty, called as `pool(dumps, group)`: a list of
        (`Entry`, path of the dump) and the `WritableGroup` of `pooled.h5` to fill.
    figures
        `module:function` of each figure, called by the report.
    settings
        Names of the `Settings` that decide its numbers: a change of one of them extracts anew.
    images
        How many labelled images it looks at where the user does not say; 0 where it needs none.
    scores
        Descriptors of a third-party lens's scores; built-in lenses have theirs in `filterlens.scores`.
    """

    name: str
    extract: str
    analyze: str
    pool: str = ""
    figures: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    images: int = 0
    scores: tuple[Score, ...] = ()

    @property
    def needs_images(self) -> bool:
        """Whether it looks at images at all."""
        return self.images > 0


_BUILT_IN = (
    Lens(
        name="filters",
        extract="filterlens.extractors.filters:extract",
        analyze="filterlens.analyzers.filters:analyze",
        pool="filterlens.analyzers.distribution:pool",
        figures=("filterlens.report.figures.filters:FIGURES",),
        settings=("kernel", "fold_batchnorm"),
    ),
    Lens(
        name="downsampling",
        extract="filterlens.extractors.downsampling:extract",
        analyze="filterlens.analyzers.aliasing:analyze",
        figures=("filterlens.report.figures.downsampling:FIGURES",),
        settings=("seed", "images", "data", "channels", "fonts"),
        images=32,
    ),
    Lens(
        name="robustness",
        extract="filterlens.extractors.robustness:extract",
        analyze="filterlens.analyzers.robustness:analyze",
        figures=("filterlens.report.figures.robustness:FIGURES",),
        settings=("seed", "images", "data", "fast", "autoattack", "bf16", "fonts"),
        images=1000,
    ),
    Lens(
        name="flatness",
        extract="filterlens.extractors.flatness:extract",
        analyze="filterlens.analyzers.flatness:analyze",
        figures=("filterlens.report.figures.flatness:FIGURES",),
        settings=("seed", "images", "data", "fast", "as_published", "bf16", "fonts"),
        images=1000,
    ),
    Lens(
        name="manifold",
        extract="filterlens.extractors.manifold:extract",
        analyze="filterlens.analyzers.manifold:analyze",
        figures=("filterlens.report.figures.manifold:FIGURES",),
        settings=("seed", "images", "data", "fast", "manifold", "fonts"),
        images=200,
    ),
)


@cache
def all_lenses() -> dict[str, Lens]:
    """Every lens by name: the built-in ones, then those of installed packages.

    Raises
    ------
    InputError
        Two lenses share a name, or a package's entry point is no `Lens`.
    """
    lenses = {lens.name: lens for lens in _BUILT_IN}
    for point in entry_points(group="filterlens.lenses"):
        try:
            lens = point.load()
        except Exception as error:
            raise InputError(f"the lens {point.name!r} of {point.value} cannot be imported ({error})") from error
        if not isinstance(lens, Lens):
            raise InputError(f"the entry point {point.name!r} of {point.value} is no filterlens.Lens")
        if lens.name in lenses:
            raise InputError(f"two lenses are called {lens.name!r}: the second comes from {point.value}")
        register(lens.scores)
        lenses[lens.name] = lens
    return lenses


def get_lens(name: str) -> Lens:
    """Return a lens by name.

    Raises
    ------
    InputError
        There is none of that name.
    """
    lenses = all_lenses()
    if name not in lenses:
        raise InputError(f"no lens is called {name!r}; there are {', '.join(lenses)}")
    return lenses[name]


def resolve(path: str) -> Callable[..., Any]:
    """Import the object that `module:name` names."""
    module, _, name = path.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
