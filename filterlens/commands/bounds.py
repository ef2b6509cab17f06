"""Bounds on scores: how they are written, and what a model's scores or a baseline make of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filterlens.errors import InputError
from filterlens.lens import all_scores, get_score
from filterlens.score import Score, model_scores

if TYPE_CHECKING:  # the command line makes its options from here, without 60 MB
    import pandas as pd

__all__ = ["Bound", "BoundCheck", "baseline_checks", "bound_names", "check_bound", "parse_bound", "unlike_layers"]

_SIDES = ("max", "min")
_ALIASES = {"entropy": "variance_entropy"}
_LAYER = "layer-"
_COMPARED = re.compile(r"\s*([\w-]+?)\s*(<=?|>=?)\s*(\S*)\s*")  # `sparsity < 0.3`


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on a score's mean, or with `layers` on every layer; the limit itself is within it unless `strict`."""

    metric: str
    side: str
    limit: float
    layers: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class BoundCheck:
    """One bound and the value that is held against it.

    Parameters
    ----------
    name
        The bound as it is written: `max-sparsity`, `min-layer-orthogonality`; of a baseline, `against-max-sparsity`.
    metric, side, bound
        Such as `sparsity`, `max`, 0.3.
    value
        The model's mean of the score, or that of the worst layer; NaN, which passes no bound, where it has none.
    layer
        That layer; empty for the mean.
    note
        What to keep in mind: `run without normalisation`.
    model
        The checkpoint, as it was named.
    strict
        Whether a value that equals the bound breaks it.
    """

    name: str
    metric: str
    side: str
    bound: float
    value: float
    layer: str = ""
    note: str = ""
    model: str = ""
    strict: bool = False

    @property
    def passed(self) -> bool:
        """Whether the value is within the bound."""
        if self.strict and self.value == self.bound:
            return False
        return self.value <= self.bound if self.side == "max" else self.value >= self.bound

    @property
    def text(self) -> str:
        """Say it in one line."""
        sign = ("<" if self.side == "max" else ">") + ("" if self.strict else "=")
        where = f" of layer {self.layer}" if self.layer else ""
        value = "none" if math.isnan(self.value) else f"{self.value:.6g}"
        said = f"{self.metric}{where} {value}, wanted {sign} {self.bound:.6g}"
        return f"{said} (baseline)" if self.name.startswith("against-") else said


def bound_names() -> Iterator[str]:
    """Every bound that can be written: for each score of the register its mean's and its layers'."""
    for name in (*all_scores(), *_ALIASES):
        for side in _SIDES:
            for layer in ("", _LAYER):
                yield f"{side}-{layer}{name.replace('_', '-')}"


def parse_bound(text: str) -> Bound:
    """Read `max-sparsity=0.3` or `sparsity<=0.3`; of every layer, `max-layer-sparsity=0.3` or `layer-sparsity<=0.3`.

    Raises
    ------
    InputError
        It is not of that form, or there is no such score.

    Examples
    --------
    >>> parse_bound("max-sparsity=0.3") == parse_bound("sparsity <= 0.3")
    True
    >>> parse_bound("layer_orthogonality>0.8")
    Bound(metric='orthogonality', side='min', limit=0.8, layers=True, strict=True)
    """
    if compared := _COMPARED.fullmatch(text):
        metric, sign, number = compared.groups()
        side, strict = "max" if sign[0] == "<" else "min", len(sign) == 1
    else:
        name, _, number = text.partition("=")
        side, _, metric = name.strip().removeprefix("--").partition("-")
        strict = False
    metric = metric.replace("_", "-")
    layers = metric.startswith(_LAYER)
    metric = metric.removeprefix(_LAYER).replace("-", "_")
    if side not in _SIDES or not metric:
        raise InputError(
            f"{text!r} is no bound: write max-SCORE=NUMBER, min-SCORE=NUMBER or SCORE<NUMBER, for every layer "
            "max-layer-SCORE=NUMBER or layer-SCORE<NUMBER"
        )
    try:
        limit = float(number)
    except ValueError:
        raise InputError(f"{text!r}: {number!r} is not a number") from None
    if math.isnan(limit):
        raise InputError(f"{text!r}: {number!r} is not a number")
    return Bound(get_score(_ALIASES.get(metric, metric)).name, side, limit, layers, strict)


def check_bound(bound: Bound, scores: pd.DataFrame) -> BoundCheck:
    """Hold a model's scores to a bound: the mean, or the layer that is worst.

    Layers of which the score is not defined take no part.

    Raises
    ------
    InputError
        The score was not measured, or is none of layers.
    """
    rows = scores[scores["metric"] == bound.metric]
    if rows.empty:
        raise InputError(f"{bound.metric} was not measured: add its lens ({get_score(bound.metric).lens}) with --lens")
    name = f"{bound.side}-{_LAYER if bound.layers else ''}{bound.metric.replace('_', '-')}"
    if not bound.layers:
        value = float(model_scores(rows)[bound.metric].iloc[0])
        return BoundCheck(name, bound.metric, bound.side, bound.limit, value, strict=bound.strict)
    layers = rows[rows["layer"] != ""]
    if layers.empty:
        raise InputError(f"{bound.metric} is of the whole model: write {bound.side}-{bound.metric}={bound.limit:g}")
    layers = layers[layers["value"].notna()]
    if layers.empty:
        return BoundCheck(name, bound.metric, bound.side, bound.limit, math.nan, strict=bound.strict)
    worst = layers.sort_values("value", ascending=bound.side == "min", kind="stable").iloc[0]
    value = float(worst["value"])
    return BoundCheck(name, bound.metric, bound.side, bound.limit, value, str(worst["layer"]), strict=bound.strict)


def unlike_layers(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Say that two score tables have layers and none by the same name; empty where they have, or one has no layers."""
    one, other = (sorted({*table["layer"]} - {""}) for table in (first, second))
    if not one or not other or not {*one}.isdisjoint(other):
        return ""
    return (
        f"no layer of the one has the name of a layer of the other ({one[0]} … and {other[0]} …): "
        "where both are of one architecture, --arch gives them its names"
    )


def baseline_checks(
    scores: pd.DataFrame, means: pd.DataFrame, layers: pd.DataFrame, tolerance: float
) -> list[BoundCheck]:
    """Hold a model to a baseline: no score may be worse than the baseline's by more than the tolerance.

    Where a score's better direction is not known, both sides are held.

    Parameters
    ----------
    scores
        The model's score table.
    means
        The baseline's mean scores, one row a model: the range of several is held.
    layers
        The score table of a baseline that is one model, whose layers are held too; otherwise empty.
    tolerance
        In shares of a score's range where that is bounded, else of the baseline's value.

    Raises
    ------
    InputError
        The two have no score in common, or both have layers and none of the same name.
    """
    if said := unlike_layers(scores, layers):
        raise InputError(said)
    own = model_scores(scores).iloc[0]
    checks: list[BoundCheck] = []
    for score in all_scores().values():
        if score.auxiliary or score.name not in means or score.name not in own:
            continue
        known = means[score.name].dropna()
        if len(known):
            checks += _held(score, float(own[score.name]), (float(known.min()), float(known.max())), tolerance)
        checks += _held_layers(score, scores, layers, tolerance)
    if not checks:
        raise InputError(
            "the checkpoint and the baseline have no score in common: choose the baseline's lenses with --lens"
        )
    return checks


def _held_layers(score: Score, scores: pd.DataFrame, baseline: pd.DataFrame, tolerance: float) -> list[BoundCheck]:
    """Hold every layer of the baseline; one that the model lacks has no value and fails."""
    mine, theirs = (
        table[(table["metric"] == score.name) & (table["layer"] != "")]
        .drop_duplicates("layer")
        .set_index("layer")["value"]
        for table in (scores, baseline)
    )
    checks = []
    for layer, value in theirs.dropna().items():
        found = float(mine.get(layer, math.nan))
        checks += _held(score, found, (float(value), float(value)), tolerance, str(layer))
    return checks


def _held(
    score: Score, value: float, known: tuple[float, float], tolerance: float, layer: str = ""
) -> list[BoundCheck]:
    """Hold a value to a known range, on the side that is worse or on both."""
    low, high = known
    bottom, top = score.bounds
    margin = tolerance * ((top - bottom) if bottom is not None and top is not None else max(abs(low), abs(high)))
    lowest, highest = (math.copysign(math.inf, s) if b is None else b for b, s in ((bottom, -1), (top, 1)))
    sides = [("min", max(low - margin, lowest)), ("max", min(high + margin, highest))]
    if score.higher_is_better is not None:
        sides = sides[:1] if score.higher_is_better else sides[1:]
    name = f"{_LAYER if layer else ''}{score.name.replace('_', '-')}"
    return [BoundCheck(f"against-{side}-{name}", score.name, side, limit, value, layer) for side, limit in sides]
