"""`import filterdb` and `export filterdb`: runs from and to CNN-Filter-DB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterlens.commands.audit import extract

if TYPE_CHECKING:
    from filterlens.catalogs import Catalog
    from filterlens.filterdb.exporting import Exported
    from filterlens.runs import Outcome

__all__ = ["export_filterdb", "filterdb_catalog", "import_filterdb"]


def import_filterdb(
    dataset: str | Path,
    folder: str | Path | None = None,
    *,
    models: Sequence[str] = (),
    pairs: str | Path | None = None,
    **how: Any,  # noqa: ANN401 - as `extract` takes them
) -> Outcome:
    """Turn a CNN-Filter-DB data set into a run: its models' filters, their depth, and what is known of them.

    No checkpoint is needed, and nothing that the file holds is executed. Then `analyze` and `report` give scores,
    tables and figures.

    Parameters
    ----------
    dataset
        The HDF5 file, unpacked.
    folder
        The run's folder; `reports/NAME` where None.
    models
        Shell patterns of model ids; empty: all.
    pairs
        CSV file with the columns Robust and Normal: names of models.
    how
        `jobs`, `executor`, `listener`, `keep_tracebacks`, as for `extract`.

    Raises
    ------
    CheckpointError
        The file is damaged, or no such data set.
    CatalogError
        A pair names a model that is not in the file.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.import_filterdb("dataset.h5", "runs/paper", jobs=4)  # doctest: +SKIP
    """
    catalog = filterdb_catalog(dataset, models=models, pairs=pairs)
    return extract(catalog, folder, **how)


def filterdb_catalog(dataset: str | Path, *, models: Sequence[str] = (), pairs: str | Path | None = None) -> Catalog:
    """Return the catalog that `import_filterdb` extracts: the data set's models."""
    from filterlens.filterdb.importing import database_catalog, read_pairs

    catalog = database_catalog(Path(dataset), read_pairs(Path(pairs)) if pairs else None)
    return catalog.select(models) if models else catalog


def export_filterdb(
    folder: str | Path,
    path: str | Path = "dataset.h5",
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Exported:
    """Write a run's 3x3 filters as a CNN-Filter-DB data set, which that project's code reads.

    Parameters
    ----------
    folder
        A run's folder.
    path
        The HDF5 file; appears whole or not at all.
    progress
        Called as `progress(done, total)`.

    Returns
    -------
        How much was written, and which models were left out for what reason.

    Raises
    ------
    CatalogError
        The folder is no run's folder.
    DumpError
        No model of the run has 3x3 filters.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.export_filterdb("reports/fonts-linf", "dataset.h5")  # doctest: +SKIP
    """
    from filterlens.filterdb.exporting import export_run

    return export_run(Path(folder), Path(path), progress=progress)
