"""What papers claim of robust models: where they say it, what the run's numbers say of it, and what would refute it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from filterlens.references import all_papers
from filterlens.report.formats import cell
from filterlens.score import Score

__all__ = ["SIGNIFICANT", "Claim", "claims", "limit_of", "refuted_by", "verdict"]

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim as the page shows it, every part plain text.

    Parameters
    ----------
    score
        Title of the score that tests it.
    says
        The claim, in our words.
    source
        Paper and section.
    verdict
        What became of it here (see `verdict`).
    found
        The numbers behind the verdict.
    refuted_by
        Which numbers would refute it.
    """

    score: str
    says: str
    source: str
    verdict: str
    found: str
    refuted_by: str


def verdict(row: Mapping[Any, Any] | pd.Series) -> str:
    """Say what became of a claim: by the adjusted p-value, and by the side of the mean difference.

    Parameters
    ----------
    row
        Of `filterlens.report.comparison.compare_scores`.

    Returns
    -------
        `holds` and `contradicted` where the adjusted p is below 0.05; `not shown`, `not tested` (too few normal models
        for a p-value) or `no difference at all` otherwise.
    """
    if row["effect"] == 0 and row["difference"] == 0:
        return "no difference at all"
    if pd.isna(row["p_adjusted"]):
        return "not tested"
    if row["p_adjusted"] >= SIGNIFICANT:
        return "not shown"
    return "holds" if (row["difference"] > 0) == (row["robust_is"] == "higher") else "contradicted"


def refuted_by(expected: str) -> str:
    """Say what would refute a claim that robust models are `higher` or `lower`.

    Examples
    --------
    >>> refuted_by("lower")
    'robust models higher on average, adjusted p < 0.05'
    """
    other = {"higher": "lower", "lower": "higher"}[expected]
    return f"robust models {other} on average, adjusted p < {SIGNIFICANT}"


def limit_of(comparison: pd.DataFrame) -> str:
    """Say that the run has too few normal models to show or refute anything; empty where it has enough.

    The exact signed-rank test of n differences is never below 2 / 2ⁿ.
    """
    few = comparison.loc[comparison["robust_is"] != "", "n_normal"].min()
    if pd.isna(few) or 2.0 ** (1 - few) < SIGNIFICANT:
        return ""
    n = int(few)
    least = cell(min(1.0, 2.0 ** (1 - n)), "p")
    return (
        f"With {n} distinct normal model{'' if n == 1 else 's'} p is at least {least}, so that nothing can be shown or "
        "refuted: that takes 6."
    )


def claims(comparison: pd.DataFrame, scores: Iterable[Score]) -> list[Claim]:
    """Every claim about a score of the run; those that nothing here tests among them.

    Parameters
    ----------
    comparison
        From `filterlens.report.comparison.compare_scores`, over all pairs.
    scores
        Scores of the run.
    """
    rows = {str(row["metric"]): row for row in comparison.to_dict("records")}
    made = []
    for score in scores:
        if not score.claim:
            continue
        where, _, says = score.claim.partition(": ")
        key, _, section = where.partition(", ")
        row: Mapping[str, Any] | None = rows.get(score.name)  # type: ignore[assignment] # pandas says Hashable
        made.append(
            Claim(
                score=score.title,
                says=says or score.claim,
                source=", ".join(filter(None, [_paper(key), section])),
                verdict="not tested" if row is None else verdict(row),
                found="No pair has a value on both sides." if row is None else _found(row),
                refuted_by=refuted_by(score.robust_is),
            )
        )
    return made


def _paper(key: str) -> str:
    """Name a paper in full; one that filterlens has no entry for, by its key."""
    paper = all_papers().get(key)
    if paper is None:
        return key
    return f"{str(paper).removesuffix('.')}{f' (doi:{paper.doi})' if paper.doi else ''}"


def _found(row: Mapping[str, Any]) -> str:
    agreeing = f"{int(row['n_expected'])} of {int(row['n_pairs'])} pairs {row['robust_is']}"
    difference = f"mean difference {cell(float(row['difference']))}"
    if pd.isna(row["p_adjusted"]):
        return f"{agreeing}, {difference}"
    p = cell(float(row["p_adjusted"]), "p")
    return f"{agreeing}, {difference}, adjusted p {p if p.startswith('<') else f'= {p}'}"
