"""`catalogs`: which catalogs are shipped, which models belong together in one, and under which licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

from filterlens.catalogs import Catalog, Entry, catalog_names, load_catalog
from filterlens.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["catalogs", "catalogs_lock"]

_BLOCK = 100_000  # entries that are in memory at once
_LOCK_COLUMNS = ("model_id", "source", "file", "size", "sha256")


def catalogs(name: str | Path | Catalog = "", *, models: Sequence[str] = (), licences: bool = False) -> pd.DataFrame:
    """List the shipped catalogs, or one catalog's models and their matched normal models.

    Parameters
    ----------
    name
        A shipped catalog, the path of a CSV file, or a `Catalog`; empty lists the shipped catalogs.
    models
        Only the models whose ids match one of these shell patterns, and what they are matched with.
    licences
        Instead, the licences of the weights that would be downloaded.

    Returns
    -------
        One row a catalog (`catalog`, `models`, `robust`, `pairs`, `unmatched`, `datasets`, `threat_models`) or one a
        model, with every column of a catalog's file: written as CSV, it is a catalog again, wherever it lies (the paths
        of sources are absolute). Of licences: one row a catalog and licence, with the number of `models`, or one a
        model.

    Raises
    ------
    CatalogError
        There is no such catalog, its file is wrong, or a pattern matches no model.
    InputError
        There are patterns and no catalog.

    Examples
    --------
    >>> import filterlens
    >>> table = filterlens.catalogs("fonts-linf").set_index("model_id")
    >>> table.loc["preact_resnet-pgd-s0", "match"]
    'preact_resnet-normal-s0'
    """
    import pandas as pd

    if name == "":
        if models:
            raise InputError(f"--models {models[0]!r} chooses among the models of one catalog: name it")
        return _licence_totals() if licences else pd.DataFrame([_counts(load_catalog(n)) for n in catalog_names()])
    catalog = name if isinstance(name, Catalog) else load_catalog(name)
    catalog = catalog.select(models) if models else catalog
    return _licences(catalog) if licences else _models(catalog)


def _models(catalog: Catalog) -> pd.DataFrame:
    """Return a catalog's rows; what is unknown is empty, not False or 0."""
    import pandas as pd

    entries = catalog.entries
    blocks = [entries[start : start + _BLOCK] for start in range(0, max(1, len(entries)), _BLOCK)]
    return pd.concat([_block(block, catalog.folder) for block in blocks], ignore_index=True)


def _block(entries: Sequence[Entry], folder: Path) -> pd.DataFrame:
    import pandas as pd

    from filterlens.loaders import absolute_source

    table = pd.DataFrame([entry.model_dump() for entry in entries], columns=list(Entry.model_fields))
    for column in ("mean", "std"):
        table[column] = [" ".join(map(repr, values)) if values else "" for values in table[column]]
    table["source"] = [absolute_source(entry.source, folder) for entry in entries]
    kinds: dict[str, str] = {"robust": "boolean"}
    for name, hint in get_type_hints(Entry).items():
        if {int, float} & set(get_args(hint)) and type(None) in get_args(hint):
            kinds[name] = "Int64" if int in get_args(hint) else "float64"
    return table.astype(kinds)


def catalogs_lock(name: str | Path | Catalog, out: str | Path | None = None) -> pd.DataFrame:
    """Write size and SHA-256 of a catalog's files into a lock file, which audits then hold them against.

    Parameters
    ----------
    name
        A shipped catalog, the path of a CSV file, or a `Catalog`.
    out
        The lock file; where None, `NAME.lock.csv` beside the catalog, which is where an audit looks for it (a shipped
        catalog's in the cache).

    Returns
    -------
        One row a file: `model_id`, `source`, `file`, `size` in bytes, `sha256`; the last is empty, and the row not in
        the lock, where a file is not here.

    Raises
    ------
    CatalogError
        There is no such catalog.
    WriteError
        The lock file cannot be written.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.catalogs_lock("cifar10-linf", "paper/lock.csv")  # doctest: +SKIP
    """
    import pandas as pd

    from filterlens.fetching import Locked, lock_path, needs_of, place_of, write_lock
    from filterlens.loaders import local_files
    from filterlens.process.digests import file_digest

    catalog = name if isinstance(name, Catalog) else load_catalog(name)
    rows: list[Locked] = []
    for entry in catalog:
        needs = needs_of(entry, catalog.folder, offline=True)
        paths = {place_of(path): path for path in local_files(entry.source, catalog.folder)}
        for file in needs.files:
            path = file.cached()
            if path is not None:
                paths[place_of(path)] = path
        rows += [
            Locked(entry.model_id, entry.source, place, path.stat().st_size, file_digest(path))
            for place, path in paths.items()
        ]
        if not paths or needs.missing:
            rows += [Locked(entry.model_id, entry.source, file.name, 0, "") for file in needs.missing if file.host]
            rows += [] if paths or needs.missing else [Locked(entry.model_id, entry.source, "", 0, "")]
    write_lock([row for row in rows if row.sha256], lock_path(catalog) if out is None else Path(out))
    return pd.DataFrame([(r.model_id, r.source, r.file, r.size, r.sha256) for r in rows], columns=_LOCK_COLUMNS)


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

    rows = []
    for name in catalog_names():
        table = _licences(load_catalog(name))
        where = [source.partition(":")[2] for source in table["source"]]
        told = [text.replace(f"card of {rest}", "cards") for text, rest in zip(table["licence"], where, strict=True)]
        rows += [{"catalog": name, "licence": text, "models": n} for text, n in Counter(told).most_common()]
    return pd.DataFrame(rows)
