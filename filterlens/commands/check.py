"""`check`: one checkpoint held to bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from filterlens.commands.scoring import score_one_model
from filterlens.errors import InputError
from filterlens.lens import Options, RunSettings, get_score
from filterlens.process.printable import printable
from filterlens.score import UNNORMALISED, model_scores

__all__ = ["BoundCheck", "as_junit", "check", "parse_bound"]


@dataclass(frozen=True, slots=True)
class BoundCheck:
    """One bound and the value that is held against it.

    Parameters
    ----------
    metric, side, bound
        Such as `sparsity`, `max`, 0.3.
    value
        The model's mean of the score; NaN, which passes no bound, where it has none.
    note
        What to keep in mind: `run without normalisation`.
    """

    metric: str
    side: str
    bound: float
    value: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the value is within the bound."""
        return self.value <= self.bound if self.side == "max" else self.value >= self.bound

    @property
    def text(self) -> str:
        """Say it in one line."""
        sign = "<=" if self.side == "max" else ">="
        return f"{self.metric} {self.value:.4g}, wanted {sign} {self.bound:g}"


def parse_bound(text: str) -> tuple[str, str, float]:
    """Read `max-sparsity=0.3` or `min-orthogonality=0.8` as (metric, side, bound).

    Raises
    ------
    InputError
        It is not of that form, or there is no such score.
    """
    name, _, number = text.partition("=")
    side, _, metric = name.strip().removeprefix("--").partition("-")
    metric = metric.replace("-", "_")
    if side not in {"min", "max"} or not metric:
        raise InputError(f"{text!r} is no bound: write max-SCORE=NUMBER or min-SCORE=NUMBER")
    try:
        bound = float(number)
    except ValueError:
        raise InputError(f"{text!r}: {number!r} is not a number") from None
    metric = {"entropy": "variance_entropy"}.get(metric, metric)
    return get_score(metric).name, side, bound


def check(
    source: str | Path,
    bounds: Sequence[str],
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    fast: bool = True,
    settings: RunSettings | None = None,
    **options: Any,  # noqa: ANN401 - of lenses, and what `score_source` takes besides
) -> list[BoundCheck]:
    """Hold a checkpoint's scores to bounds: a gate for a training pipeline.

    Parameters
    ----------
    source
        A path, a source such as `timm:resnet18`, or a catalog's model as `CATALOG/MODEL_ID`.
    bounds
        Each `max-SCORE=NUMBER` or `min-SCORE=NUMBER`, as on the command line.
    lenses, fast, settings, options
        As for `filterlens.extract`; `arch`, `eps`, `mean` and `std` of a checkpoint as on the command line.

    Returns
    -------
        One `BoundCheck` a bound, whether it passed or not.

    Raises
    ------
    CheckpointError
        The model cannot be loaded or scored.
    InputError
        A bound is of another form, or names a score that the lenses do not measure.

    Examples
    --------
    >>> import filterlens
    >>> bounds = ["max-sparsity=0.9", "min-orthogonality=0.99"]
    >>> [result.passed for result in filterlens.check("fonts-linf/preact_resnet-pgd-s0", bounds)]
    [True, False]
    """
    if not bounds:
        raise InputError("give at least one bound, such as max-sparsity=0.3")
    wanted = [parse_bound(text) for text in bounds]
    scores = score_one_model(source, lenses=lenses, fast=fast, settings=settings, **options)
    means = model_scores(scores).iloc[0]
    without = set(scores.loc[scores["note"].str.contains(UNNORMALISED, regex=False), "metric"])
    for metric, _, _ in wanted:
        if metric not in means:
            raise InputError(f"{metric} was not measured: add its lens ({get_score(metric).lens}) with --lens")
    return [
        BoundCheck(metric, side, bound, float(means[metric]), UNNORMALISED if metric in without else "")
        for metric, side, bound in wanted
    ]


def as_junit(source: str, results: Sequence[BoundCheck]) -> str:
    """Write results as a JUnit file, one test case a bound."""
    failures = sum(not result.passed for result in results)
    suite = ET.Element(
        "testsuite", name=f"filterlens check {printable(source)}", tests=str(len(results)), failures=str(failures)
    )
    for result in results:
        case = ET.SubElement(suite, "testcase", classname="filterlens", name=f"{result.side}-{result.metric}")
        if not result.passed:
            ET.SubElement(case, "failure", message=printable(result.text))
        if result.note:
            ET.SubElement(case, "system-out").text = result.note
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)
