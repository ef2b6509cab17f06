"""The numbers of Gavrikov & Keuper 2022 (through the lens): sparse filters, distribution shift, rank correlations.

They are computed as its authors' code does, which differs from this project's own scores in four ways: a model of
which nobody says whether it is robust counts as robust; a normal model enters a shift once for each robust model that
it is paired with; shifts of all data sets share the basis and the range of all models' filters; and the same weights
under two names count twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from filterlens.errors import ReportError
from filterlens.process.files import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

    from filterlens.catalogs import Entry
    from filterlens.lenses.filters.pooled import FilterPool
    from filterlens.report import RunData

__all__ = ["PUBLISHED", "filter_numbers", "write_filter_numbers"]

PUBLISHED: Final = {
    ("sparse filters, mean over models", "", "robust"): 0.0944751,
    ("sparse filters, mean over models", "", "normal"): 0.3948042,
    ("shift", "cifar10", "pairs"): 0.62169,
    ("shift", "cifar100", "pairs"): 0.17417,
    ("shift", "imagenet", "pairs"): 0.01808,
    ("Spearman, variance_entropy and robust_acc", "cifar10", "robust"): 0.437959,
    ("Spearman, variance_entropy and robust_acc", "cifar100", "robust"): 0.129902,
    ("Spearman, variance_entropy and robust_acc", "imagenet", "robust"): -0.6,
    ("Spearman, sparsity and robust_acc", "cifar10", "robust"): -0.274286,
    ("Spearman, sparsity and robust_acc", "cifar100", "robust"): -0.203431,
    ("Spearman, sparsity and robust_acc", "imagenet", "robust"): -0.1,
}
"""What the authors' notebooks print, by quantity, data set and models."""

_CORRELATED: Final = ("clean_acc", "variance_entropy", "sparsity", "orthogonality")
_COLUMNS: Final = ("quantity", "dataset", "models", "value", "n", "published")


@dataclass(frozen=True, slots=True)
class _Number:
    quantity: str
    dataset: str
    models: str
    value: float
    n: int

    @property
    def published(self) -> float:
        return PUBLISHED.get((self.quantity, _key(self.dataset), self.models), math.nan)


def filter_numbers(folder: Path) -> pd.DataFrame:
    """Compute the paper's numbers for a run.

    Parameters
    ----------
    folder
        A run's folder, analysed.

    Returns
    -------
        Columns `quantity`, `dataset` (empty for all), `models` (which ones), `value`, `n` (models or pairs) and
        `published` (NaN where the paper has none). Shares are in [0, 1], shifts in nats, ρ in [-1, 1].

    Raises
    ------
    ReportError
        The run has not been analysed, or has no scores of filters.
    DumpError
        A dump is damaged.

    References
    ----------
    [Gavrikov2022Lens]_, sections 3 and 4.
    """
    from filterlens.lenses.filters.pooled import read_filter_pool
    from filterlens.report import read_run

    run = read_run(folder, every=True)
    if "sparsity" not in run.models:
        raise ReportError(f"{folder} has no scores of filters: extract it with the filters lens, and analyse it")
    numbers = [*_sparse(run), *_correlations(run.models)]
    pool = read_filter_pool(run)
    if pool is not None:
        numbers += _shifts(run, pool)
    return pd.DataFrame([[getattr(number, column) for column in _COLUMNS] for number in numbers], columns=_COLUMNS)


def write_filter_numbers(folder: Path) -> tuple[pd.DataFrame, Path]:
    """Compute the paper's numbers and store them as `numbers.csv` in the run's folder; see `filter_numbers`."""
    numbers = filter_numbers(folder)
    path = folder / "numbers.csv"
    write_atomically(path, numbers.to_csv(index=False))
    return numbers, path


def _sparse(run: RunData) -> Iterable[_Number]:
    """Shares of sparse filters: the mean over models, as published, and that of all filters together."""
    rows = run.scores[(run.scores["metric"] == "sparsity") & (run.scores["layer"] != "")]
    weighted = rows.assign(sparse=rows["value"] * rows["weight"]).groupby("model_id")[["sparse", "weight"]].sum()
    models = run.models["robust"].astype(object)
    groups = {
        "robust": models.map(lambda told: told is not False),
        "normal": models.map(lambda told: told is False),
        "robust, as annotated": models.map(lambda told: told is True),
    }
    for name, chosen in groups.items():
        part = weighted.reindex(models.index[chosen]).dropna()
        part = part[part["weight"] > 0]
        n = len(part)
        each = float((part["sparse"] / part["weight"]).mean()) if n else math.nan
        together = float(part["sparse"].sum() / part["weight"].sum()) if n else math.nan
        yield _Number("sparse filters, mean over models", "", name, each, n)
        yield _Number("sparse filters, of all filters", "", name, together, n)


def _correlations(models: pd.DataFrame) -> Iterable[_Number]:
    """Spearman's ρ with published robust accuracy among the robust models of each data set."""
    from filterlens.report.statistics import spearman

    robust = models[models["robust"].eq(True)]  # noqa: FBT003 - a value
    for metric in _CORRELATED:
        for dataset, part in robust.groupby("dataset", sort=False):
            known = part[[metric, "robust_acc"]].astype(float).dropna()
            if len(known):
                rho, n = spearman(known[metric], known["robust_acc"], fewest=3)
                yield _Number(f"Spearman, {metric} and robust_acc", str(dataset), "robust", rho, n)


def _shifts(run: RunData, pool: FilterPool) -> Iterable[_Number]:
    """Shifts between robust models and their matched normal ones, by data set."""
    from filterlens.lenses.filters.distribution import scaled_filters
    from filterlens.lenses.filters.moments import BINS, PrincipalComponents, component_shifts, densities, histograms

    every = pool.group("all")
    pairs = run.catalog.pairs()
    if every is None or not pairs:
        return
    basis = PrincipalComponents(*(pool.arrays[name][every] for name in ("means", "bases", "explained_variance_ratio")))

    def rows(entry: Entry, *, sparse: bool) -> Iterable[Tensor]:
        path = run.folder / "dumps" / f"{entry.file_stem}.h5"
        if path.is_file():
            for filters in scaled_filters(path, pool.kernel, sparse=sparse):
                yield basis.coefficients(filters)

    low, high = math.inf, -math.inf
    for entry in run.catalog:
        for found in rows(entry, sparse=True):
            low, high = min(low, float(found.min())), max(high, float(found.max()))
    empty = np.zeros((len(basis.mean), BINS), dtype=np.int64)
    paired = {entry.model_id: entry for pair in pairs for entry in (pair.robust, pair.normal)}
    counts = {
        name: sum((histograms(found, low, high, BINS) for found in rows(entry, sparse=False)), empty)
        for name, entry in paired.items()
    }
    for dataset, n in Counter(pair.robust.dataset for pair in pairs).items():
        own = [pair for pair in pairs if pair.robust.dataset == dataset]
        sides = [
            sum((counts[entry.model_id] for entry in side), empty)
            for side in ([pair.robust for pair in own], [pair.normal for pair in own])
        ]
        if all(side.any() for side in sides):
            p, q = (densities(side, (high - low) / BINS) for side in sides)
            yield _Number("shift", dataset, "pairs", float(basis.ratio @ component_shifts(p, q)), n)


def _key(dataset: str) -> str:
    return dataset.casefold().replace("-", "").replace("_", "")
