"""`catalogs`: which catalogs are shipped, which models belong together in one, and under which licences."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from filterlens.catalogs import Catalog, catalog_names, load_catalog

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["catalogs"]

_COLUMNS = (
    "model_id", "architecture", "robust", "match", "match_rule", "eps", "clean_acc", "robust_acc", "source",
)  # fmt: skip


def catalogs(name: str | Path = "", *, licences: bool = False) -> pd.DataFrame:
    """List the shipped catalogs, or one catalog's models and their matched normal models.

    Parameters
    ----------
    name
        A shipped catalog, or the path of a CSV file; empty lists the shipped catalogs.
    licences
        Instead, the licences of the weights that would be downloaded.

    Returns
    -------
        One row a catalog (`catalog`, `models`, `robust`, `pairs`, `unmatched`, `datasets`, `threat_models`) or one a
        model, as in the catalog's file. Of licences: one row a catalog and licence, with the number of `models`, or
        one a model.

    Raises
    ------
    CatalogError
        There is no such catalog, or its file is wrong.

    Examples
    --------
    >>> import filterlens
    >>> table = filterlens.catalogs("fonts-linf").set_index("model_id")
    >>> table.loc["preact_resnet-pgd-s0", "match"]
    'preact_resnet-normal-s0'
    """
    import pandas as pd

    if licences:
        return _licences(load_catalog(name)) if name else _licence_totals()
    if not name:
        return pd.DataFrame([_counts(load_catalog(shipped)) for shipped in catalog_names()])
    entries = list(load_catalog(name))
    table = pd.DataFrame([[getattr(entry, column) for column in _COLUMNS] for entry in entries], columns=_COLUMNS)
    table["robust"] = table["robust"].astype("boolean")  # unknown is not False
    return table


def _counts(catalog: Catalog) -> dict[str, object]:
    return {
        "catalog": catalog.name,
        "models": len(catalog),
        "robust": sum(entry.robust is True for entry in catalog),
        "pairs": len(catalog.pairs()),
        "unmatched": len(catalog.unmatched()),
        "datasets": " ".join(dict.fromkeys(entry.dataset for entry in catalog if entry.dataset)),
        "threat_models": " ".join(dict.fromkeys(entry.threat_model for entry in catalog if entry.threat_model)),
    }


def _licences(catalog: Catalog) -> pd.DataFrame:
    import pandas as pd

    from filterlens.loaders.licences import licence_of

    return pd.DataFrame(
        [{"model_id": entry.model_id, "licence": licence_of(entry), "source": entry.source} for entry in catalog]
    )


def _licence_totals() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {"catalog": name, "licence": licence, "models": models}
            for name in catalog_names()
            for licence, models in Counter(_licences(load_catalog(name))["licence"]).most_common()
        ]
    )
