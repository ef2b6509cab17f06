"""What a shell offers when TAB is pressed: catalogs, models, lenses, scores, lists and schemas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from filterlens.errors import FilterlensError

__all__ = ["catalogs", "lenses", "lists", "models", "models_of_option", "run_models", "schemas", "scores"]

_MOST: Final = 2000
_PLAIN: Final = re.compile(r"[\w./:@+=,%-]+")
Complete = Callable[..., list[str]]


def _offer(names: Iterable[str], incomplete: str) -> list[str]:
    """Return the names that go on from what is typed; none with characters that a shell could take for something."""
    return [name for name in names if name.startswith(incomplete) and _PLAIN.fullmatch(name)][:_MOST]


def catalogs(incomplete: str) -> list[str]:
    """Offer the shipped catalogs; where none fits, the shell offers files."""
    from filterlens.catalogs import catalog_names

    return _offer(catalog_names(), incomplete)


def lenses(incomplete: str) -> list[str]:
    """Offer lenses; after a comma, those that are not named yet."""
    from filterlens.lens import all_lenses

    named, comma, _ = incomplete.rpartition(",")
    earlier = set(named.split(","))
    return _offer((f"{named}{comma}{name}" for name in [*all_lenses(), "all"] if name not in earlier), incomplete)


def scores(incomplete: str) -> list[str]:
    """Offer scores."""
    from filterlens.lens import all_scores

    return _offer(all_scores(), incomplete)


def lists(incomplete: str) -> list[str]:
    """Offer what `filterlens ls` lists."""
    from filterlens.commands.listing import LISTS

    return _offer(LISTS, incomplete)


def schemas(incomplete: str) -> list[str]:
    """Offer schemas."""
    from filterlens.commands.schemas import SCHEMAS

    return _offer(SCHEMAS, incomplete)


def models(incomplete: str) -> list[str]:
    """Offer `CATALOG/`, and after it the catalog's models; where none fits, the shell offers files."""
    from filterlens.catalogs import catalog_names

    for name in catalog_names():
        if incomplete.startswith(f"{name}/"):
            return _offer((f"{name}/{model}" for model in _ids(name)), incomplete)
    path, found, _ = incomplete.partition(".csv/")
    if found:
        return _offer((f"{path}.csv/{model}" for model in _ids(f"{path}.csv")), incomplete)
    return _offer((f"{name}/" for name in catalog_names()), incomplete)


def models_of_option(ctx: Any, incomplete: str) -> list[str]:  # noqa: ANN401 - a context of click, or of its copy within typer
    """Offer the models of the catalog that `--leaderboard` names."""
    from filterlens.commands.plan import DEFAULT

    return _offer(_ids(str(ctx.params.get("leaderboard") or DEFAULT)), incomplete)


def run_models(ctx: Any, incomplete: str) -> list[str]:  # noqa: ANN401 - as above
    """Offer the models of the run whose folder was given before."""
    return _offer(_ids(str(Path(ctx.params.get("run") or ".") / "catalog.csv")), incomplete)


def _ids(catalog: str) -> list[str]:
    from filterlens.catalogs import load_catalog

    try:
        return list(load_catalog(catalog).model_ids())
    except FilterlensError:  # pressing TAB tells no errors
        return []
