"""Call an extractor as a run does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from filterlens.catalogs import Entry
from filterlens.dumps import WritableGroup
from filterlens.inputs import Images
from filterlens.lens import ExtractContext, Options, RunSettings, option_names
from filterlens.loaders.model import LoadedModel

LensOptions = TypeVar("LensOptions", bound=Options)


def chosen(options: type[LensOptions], given: Mapping[str, Any]) -> tuple[LensOptions, RunSettings]:
    """Return a lens's options (the fast ones where `fast`) and a run's settings, from both by name."""
    base = options.fast() if given.get("fast") else options.paper()
    own = {name: value for name, value in given.items() if name in option_names(base)}
    rest = {name: value for name, value in given.items() if name not in own and name != "fast"}
    return replace(base, **own), RunSettings(**rest)


def context(
    model: LoadedModel,
    entry: Entry,
    images: Images | None,
    options: LensOptions,
    group: WritableGroup,
    *,
    settings: RunSettings | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> ExtractContext[LensOptions]:
    """Return what an extractor gets: as many images as its options ask for."""
    n = getattr(options, "images", None)
    return ExtractContext(
        model=model,
        entry=entry,
        images=images if images is None or n is None else images.first(n),
        options=options,
        settings=settings or RunSettings(),
        group=group,
        progress=progress,
    )
