"""The descriptor of one score."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Score"]


@dataclass(frozen=True, slots=True)
class Score:
    """What a score is: read-only facts beside the arithmetic.

    Parameters
    ----------
    name
        Its `metric` in the score table, snake case.
    lens
        The lens that yields it.
    title
        Table heading and axis label, without unit.
    summary
        One sentence: what it measures.
    formula
        The exact definition in plain text, in the symbols of the paper.
    reference
        Citation key and section, e.g. `Gavrikov2022Lens §3`.
    bounds
        Lowest and highest possible value; None where unbounded.
    unit
        `%`, `nats`, …; empty for a pure number. A share in [0, 1] has unit `share`.
    higher_is_better
        Which way is known to go with robustness; None where it is not known.
    robust_is
        The papers' claim, tested as the expected sign of robust - normal: `higher`, `lower` or empty.
    chance
        Where random weights or a random guess would stand, in words; empty if there is no such level.
    pitfalls
        What misleads, in one or two sentences.
    auxiliary
        A companion (interval end, count, z-score) that tables of comparison leave out.
    """

    name: str
    lens: str
    title: str
    summary: str
    formula: str
    reference: str
    bounds: tuple[float | None, float | None] = (None, None)
    unit: str = ""
    higher_is_better: bool | None = None
    robust_is: str = ""
    chance: str = ""
    pitfalls: str = ""
    auxiliary: bool = False
