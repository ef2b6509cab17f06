"""`ls`: what there is to choose from, as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from filterlens.errors import InputError
from filterlens.lens import all_lenses, all_scores

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LISTS", "ls"]


def ls(what: str) -> pd.DataFrame:
    """List what there is to choose from.

    Parameters
    ----------
    what
        `lenses`, `scores`, `catalogs`, `sources` or `schemas`; those of installed packages are among them.

    Returns
    -------
        One row each. Lenses: `lens`, `title`, `summary`, `needs_images`, `scores` (how many). Scores: `score`, `lens`,
        `title`, `low`, `high`, `unit`, `higher_is_better`, `robust_is`, `auxiliary`. Catalogs: as
        `filterlens.catalogs()`. Sources: `source` (how it begins), `summary`. Schemas: `schema`, `id`, `title`.

    Raises
    ------
    InputError
        There is no such list.

    Examples
    --------
    >>> import filterlens
    >>> "filters" in set(filterlens.ls("lenses")["lens"])
    True
    """
    if what not in LISTS:
        raise InputError(f"there is no list of {what!r}; there are {', '.join(LISTS)}")
    return LISTS[what]()


def _lenses() -> pd.DataFrame:
    import pandas as pd

    shown = [score for score in all_scores().values() if not score.auxiliary]
    rows = [
        {
            "lens": lens.name,
            "title": lens.title or lens.name,
            "summary": lens.summary,
            "needs_images": lens.needs_images,
            "scores": sum(score.lens == lens.name for score in shown),
        }
        for lens in all_lenses().values()
    ]
    return pd.DataFrame(rows)


def _scores() -> pd.DataFrame:
    from filterlens.commands.explain import explain

    columns = ["name", "lens", "title", "low", "high", "unit", "higher_is_better", "robust_is", "auxiliary"]
    return explain(auxiliary=True)[columns].rename(columns={"name": "score"})


def _catalogs() -> pd.DataFrame:
    from filterlens.commands.catalogs import catalogs

    return catalogs()


def _sources() -> pd.DataFrame:
    import pandas as pd

    from filterlens.loaders import summaries

    return pd.DataFrame(list(summaries().items()), columns=["source", "summary"])


def _schemas() -> pd.DataFrame:
    import pandas as pd

    from filterlens.commands.schemas import SCHEMAS, schema

    made = {name: schema(name) for name in SCHEMAS}
    rows = [{"schema": name, "id": found["$id"], "title": found["title"]} for name, found in made.items()]
    return pd.DataFrame(rows)


LISTS: Final[Mapping[str, Callable[[], pd.DataFrame]]] = {
    "lenses": _lenses,
    "scores": _scores,
    "catalogs": _catalogs,
    "sources": _sources,
    "schemas": _schemas,
}
