"""`check`: one checkpoint held to bounds, to a baseline, and to having no dead layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from filterlens.commands.bounds import BoundCheck, baseline_checks, check_bound, parse_bound
from filterlens.commands.memory import name_of
from filterlens.commands.reference import check_comparable, reference_scores
from filterlens.commands.scoring import Scored, score_one_model, score_source
from filterlens.errors import FilterlensError, InputError, WriteError
from filterlens.lens import Options, RunSettings
from filterlens.process.printable import printable
from filterlens.score import UNNORMALISED, model_scores

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BUNDLED_REFERENCE", "CheckError", "CheckResult", "WeightCheck", "as_junit", "check", "check_all"]

BUNDLED_REFERENCE = "bundled"
TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class WeightCheck:
    """Whether a layer's weights are alive: finite, and neither all zero nor all equal.

    Parameters
    ----------
    fault
        Which layer, and what is wrong with it; empty where nothing is wrong with any.
    allowed
        The user allows it.
    name
        Always `weights`.
    model
        The checkpoint, as it was named.
    """

    fault: str = ""
    allowed: bool = False
    name: str = "weights"
    model: str = ""

    @property
    def passed(self) -> bool:
        """Whether there is nothing wrong, or it is allowed."""
        return self.allowed or not self.fault

    @property
    def text(self) -> str:
        """Say it in one line."""
        if not self.fault:
            return "every layer's weights are finite, and none all zero or all equal"
        return f"{self.fault}{' (allowed)' if self.allowed else ''}"


@dataclass(frozen=True, slots=True)
class CheckError:
    """Nothing was checked: bad usage, or a checkpoint that cannot be read.

    Parameters
    ----------
    text
        Why.
    name
        Always `error`.
    passed
        Always False.
    model
        The checkpoint, as it was named.
    """

    text: str
    name: str = "error"
    passed: bool = False
    model: str = ""


CheckResult = BoundCheck | WeightCheck | CheckError


def check(
    source: str | Path | nn.Module,
    bounds: Sequence[str] = (),
    *,
    against: str | Path | nn.Module | None = None,
    tolerance: float = TOLERANCE,
    allow_dead_layers: bool = False,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    fast: bool = True,
    settings: RunSettings | None = None,
    **options: Any,  # noqa: ANN401 - of lenses, and what `score_source` takes besides
) -> list[BoundCheck | WeightCheck]:
    """Hold a checkpoint's scores to bounds or a baseline: a gate for a training pipeline.

    Parameters
    ----------
    source
        A path, a source such as `timm:resnet18`, a catalog's model as `CATALOG/MODEL_ID`, or a network in memory.
    bounds
        Each `max-SCORE=NUMBER` or `min-SCORE=NUMBER` for the model's mean, `max-layer-SCORE=NUMBER` or
        `min-layer-SCORE=NUMBER` for every layer; or `SCORE<NUMBER` and `layer-SCORE<NUMBER`, with `<`, `<=`, `>` or
        `>=`.
    against
        A checkpoint or network, whose mean and layers are held, the folder of an audited run, whose models' range is,
        or `bundled`, the reference that comes with the package.
    tolerance
        How much worse than `against` is still good, as a share of the score's range (of the baseline's value where
        the range is open).
    allow_dead_layers
        Let layers pass whose weights are all zero, all equal, NaN or Inf.
    lenses, fast, settings, options
        As for `filterlens.extract`; `arch`, `eps`, `mean` and `std` of a checkpoint as on the command line;
        `images` and `labels` may be arrays or tensors.

    Returns
    -------
        One result a bound, then those of the baseline, then one a dead layer, or one in all where there is none.

    Raises
    ------
    CheckpointError
        A model cannot be loaded or scored.
    InputError
        A bound is of another form, or names a score that the lenses do not measure; the baseline is of another kind.

    Examples
    --------
    >>> import filterlens
    >>> bounds = ["max-sparsity=0.9", "min-layer-orthogonality=0.99"]
    >>> [result.passed for result in filterlens.check("fonts-linf/preact_resnet-pgd-s0", bounds)]
    [True, False, True]
    """
    if not bounds and against is None:
        raise InputError("give at least one bound, such as max-sparsity=0.3, or a baseline with --against")
    if not tolerance >= 0:
        raise InputError(f"--tolerance {tolerance}: expected 0 or more")
    wanted = [parse_bound(text) for text in bounds]
    how: dict[str, Any] = {"lenses": lenses, "fast": fast, "settings": settings, **options}
    found, name = score_one_model(source, **how), name_of(source)
    if found.faults is None:
        raise InputError(f"{name} is a run whose weights were not examined: extract it again, or name the checkpoint")
    results = [check_bound(bound, found.scores) for bound in wanted]
    if against is not None:
        results += _against(found, against, tolerance, how, settings)
    without = set(found.scores.loc[found.scores["note"].str.contains(UNNORMALISED, regex=False), "metric"])
    results = [replace(result, note=UNNORMALISED) if result.metric in without else result for result in results]
    bounded = [replace(result, model=name) for result in results]
    faults = found.faults or ("",)
    return [*bounded, *(WeightCheck(fault, allowed=allow_dead_layers, model=name) for fault in faults)]


def check_all(sources: Sequence[str | Path], bounds: Sequence[str] = (), **how: Any) -> list[CheckResult]:  # noqa: ANN401 - as `check` takes them
    """Hold several checkpoints to the same bounds; one that cannot be checked is a `CheckError` among the results.

    Parameters
    ----------
    sources
        At least one.
    bounds, how
        As for `check`.

    Raises
    ------
    WriteError
        There is no room for temporary files.
    """
    results: list[CheckResult] = []
    for source in sources:
        try:
            results += check(source, bounds, **how)
        except WriteError:
            raise
        except FilterlensError as error:
            results.append(CheckError(str(error), model=str(source)))
    return results


def _against(
    found: Scored,
    against: str | Path | nn.Module,
    tolerance: float,
    how: Mapping[str, Any],
    settings: RunSettings | None,
) -> list[BoundCheck]:
    if isinstance(against, str | Path) and str(against) == BUNDLED_REFERENCE:
        reference = reference_scores()
        check_comparable(found, reference, settings)
        return baseline_checks(found.scores, reference.means, found.scores.head(0), tolerance)
    baseline = score_source(against, **how)
    means = model_scores(baseline.scores)
    return baseline_checks(
        found.scores, means, baseline.scores.head(len(baseline.scores) if len(means) == 1 else 0), tolerance
    )


def as_junit(source: str, results: Sequence[CheckResult]) -> str:
    """Write results as a JUnit file, one test case a result; what could not be checked is an `error`."""
    errors = sum(isinstance(result, CheckError) for result in results)
    failures = sum(not result.passed for result in results) - errors
    suite = ET.Element(
        "testsuite",
        name=f"filterlens check {printable(source)}",
        tests=str(len(results)),
        failures=str(failures),
        errors=str(errors),
    )
    several = len({result.model for result in results}) > 1
    for result in results:
        layer = getattr(result, "layer", "")
        model = f"{result.model}: " if several else ""
        name = f"{model}{result.name} {layer}".rstrip()
        case = ET.SubElement(suite, "testcase", classname="filterlens", name=printable(name))
        if not result.passed:
            kind = "error" if isinstance(result, CheckError) else "failure"
            ET.SubElement(case, kind, message=printable(result.text))
        if isinstance(result, BoundCheck) and result.note:
            ET.SubElement(case, "system-out").text = printable(result.note)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)
