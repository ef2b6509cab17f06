"""The manifold lens: from a dump to success rates, distances to the manifold, and directions [Stutz2019]_."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from filterlens.analyzers.intervals import wilson_interval
from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError

__all__ = ["analyze", "distance_ratio", "separation_auc", "success_rate"]

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]


def success_rate(success: Flags, attackable: Flags) -> tuple[float, float, float]:
    """Share of attackable examples on which an attack succeeds, with its 95 % Wilson interval.

    Parameters
    ----------
    success
        Whether the class changed, shape (n,).
    attackable
        Whether the example was classified correctly before, shape (n,).

    Returns
    -------
        Rate, lower end, upper end, in [0, 1]; NaN where nothing is attackable.

    References
    ----------
    [Stutz2019]_, section 3.

    Examples
    --------
    >>> rate, low, high = success_rate(np.array([True, False, True]), np.array([True, True, False]))
    >>> rate
    0.5
    """
    n = int(attackable.sum())
    if n == 0:
        return math.nan, math.nan, math.nan
    k = int((success & attackable).sum())
    low, high = wilson_interval(k, n)
    return k / n, low, high


def distance_ratio(distance: Values, norm: Values) -> Values:
    """Distance to the manifold over the perturbation's length, shape (n,); NaN where nothing was perturbed.

    1 means that the perturbation leaves the manifold orthogonally, 0 that it stays on it.

    References
    ----------
    [Stutz2019]_, section 3.1.

    Examples
    --------
    >>> distance_ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    array([0.5, nan])
    """
    safe = np.where(norm > 0, norm, 1.0)
    return np.where(norm > 0, distance / safe, np.nan)


def separation_auc(positive: Values, negative: Values) -> float:
    """Area under the ROC curve of telling two groups apart by one value; ties count half.

    Parameters
    ----------
    positive, negative
        Values of the group that should be larger, and of the other, shapes (n,) and (m,).

    Returns
    -------
        P(positive > negative) + P(equal) / 2, in [0, 1]; NaN where a group is empty.

    Examples
    --------
    >>> separation_auc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    if len(positive) == 0 or len(negative) == 0:
        return math.nan
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).mean() / (2 * len(negative)))


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score one model's dump.

    Parameters
    ----------
    group
        The dump's `/manifold`; without a decoder it holds nothing `on_manifold`.

    Returns
    -------
        Rows of the score table, of the whole model each.

    Raises
    ------
    DumpError
        Arrays are missing or do not fit.
    """
    read = _reader(group)
    correct = read("correct").astype(bool)
    chosen: dict[str, Flags] = {"attacked": read("success_attacked").astype(bool) & correct}
    values = _success_rows("regular_success", read("success_attacked").astype(bool), correct)
    values["clean_error"] = 1 - float(correct.mean()) if len(correct) else math.nan
    if "success_on_manifold" in group:
        decoded_correct = read("correct_decoded").astype(bool)
        success = read("success_on_manifold").astype(bool)
        chosen["on_manifold"] = success & decoded_correct
        values |= _success_rows("on_manifold_success", success, decoded_correct)
        kept = read("label_kept_on_manifold").astype(bool)[chosen["on_manifold"]]
        values["on_manifold_label_kept"] = float(kept.mean()) if len(kept) else math.nan
    everyone = np.ones(len(correct), dtype=bool)
    distances: dict[str, Values] = {}
    for kind in ("clean", "held_out", "attacked", "on_manifold", "noise"):
        if f"distance_{kind}" not in group:
            continue
        rows = chosen.get(kind, everyone)
        distances[kind] = read(f"distance_{kind}")[rows]
        values[f"distance_{kind}"] = _median(distances[kind])
        values[f"distance_{kind}_mean"] = float(distances[kind].mean()) if rows.any() else math.nan
        if kind in {"clean", "held_out"}:
            continue
        norm = read(f"norm_l2_{kind}")[rows]
        values[f"distance_ratio_{kind}"] = _median(distance_ratio(distances[kind], norm))
        values[f"tangent_angle_{kind}"] = _median(read(f"angle_{kind}")[rows])
        if kind != "noise":
            values[f"norm_linf_{kind}"] = _median(read(f"norm_linf_{kind}")[rows])
            values[f"norm_l2_{kind}"] = _median(norm)
    if "on_manifold" in distances:
        values["auc_attacked_on_manifold"] = separation_auc(distances["attacked"], distances["on_manifold"])
    unknown = read("distance_attacked_held_out")[chosen["attacked"]]
    values["auc_attacked_held_out"] = separation_auc(unknown, distances["held_out"])
    note = _note(group, chosen)
    return [{"metric": metric, "value": value, "note": note} for metric, value in values.items()]


def _reader(group: DumpGroup) -> Callable[[str], Values]:
    n = group.shape("labels")[0]

    def read(name: str) -> Values:
        values = np.asarray(group.read(name), dtype=np.float64)
        if values.shape != (n,):
            raise DumpError(f"{group.path}: manifold/{name} has shape {values.shape}, expected ({n},); extract again")
        return values

    return read


def _success_rows(name: str, success: Flags, attackable: Flags) -> dict[str, float]:
    rate, low, high = success_rate(success, attackable)
    return {name: rate, f"{name}_low": low, f"{name}_high": high}


def _median(values: Values) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def _note(group: DumpGroup, chosen: dict[str, Flags]) -> str:
    facts = group.attributes
    counts = ", ".join(f"{int(rows.sum())} {kind.replace('_', '-')} examples" for kind, rows in chosen.items())
    fast = ", fast settings" if facts.get("fast") else ""
    return f"manifold {facts.get('manifold', '?')}; {counts}{fast}"
