"""The models of a run, each set of weights once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from filterlens.catalogs import Distinct, Entry, distinct_models

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["distinct_of_run"]


def distinct_of_run(entries: Iterable[Entry], digests: Mapping[str, str], scores: pd.DataFrame) -> Distinct:
    """Count the same weights once: of several names, the one with most scores.

    Parameters
    ----------
    entries
        The run's catalog, or a part of it.
    digests
        Digest of the weights by `model_id`, as the ledger has it.
    scores
        The run's score table.
    """
    counts = scores.groupby("model_id")["metric"].nunique()
    return distinct_models(entries, digests, {str(name): int(n) for name, n in counts.items()})
