"""`explain`: what the scores mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filterlens.lens import all_scores, get_score
from filterlens.references import bibtex as as_bibtex
from filterlens.references import cited_papers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["bibtex", "explain"]

_FACTS = (
    "name", "lens", "title", "summary", "formula", "unit", "higher_is_better", "robust_is", "claim", "chance",
    "pitfalls", "reference", "weight", "auxiliary",
)  # fmt: skip


def explain(score: str = "", *, auxiliary: bool = False) -> pd.DataFrame:
    """Say what a score means, or what all of them do.

    Parameters
    ----------
    score
        Its name; empty lists every score of every lens.
    auxiliary
        In the list, interval ends, counts and z-scores too.

    Returns
    -------
        One row a score, its facts as `filterlens.Score` describes them; `low` and `high` are its bounds, NaN where it
        has none.

    Raises
    ------
    InputError
        There is no such score; the message lists near matches.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.explain("sparsity")[["lens", "low", "high", "robust_is"]].to_dict("records")
    [{'lens': 'filters', 'low': 0.0, 'high': 1.0, 'robust_is': 'lower'}]
    """
    import pandas as pd

    listed = [found for found in all_scores().values() if auxiliary or not found.auxiliary]
    chosen = [get_score(score)] if score else listed
    table = pd.DataFrame([{name: getattr(found, name) for name in _FACTS} for found in chosen])
    bounds = pd.DataFrame([found.bounds for found in chosen], columns=["low", "high"], dtype=float)
    for place, side in enumerate(bounds, start=_FACTS.index("unit")):
        table.insert(place, side, bounds[side])
    return table


def bibtex(score: str = "") -> str:
    """Give the papers that a score, or every score, comes from or is held against, as BibTeX entries.

    Parameters
    ----------
    score
        Its name; empty takes every score of every lens.

    Returns
    -------
        The text of a `.bib` file; entries that filterlens does not hold (of another package's lens) are left out.

    Raises
    ------
    InputError
        There is no such score; the message lists near matches.

    Examples
    --------
    >>> import filterlens
    >>> print(filterlens.bibtex("effective_rank"), end="")
    @inproceedings{Roy2007,
      author    = {Roy, Olivier and Vetterli, Martin},
      title     = {{The Effective Rank: A Measure of Effective Dimensionality}},
      booktitle = {European Signal Processing Conference (EUSIPCO)},
      year      = {2007},
    }
    """
    chosen = [get_score(score)] if score else list(all_scores().values())
    return as_bibtex(cited_papers(*[text for found in chosen for text in (found.reference, found.claim)]))
