"""Success rates, distances to the manifold, and directions, from what two attacks did [Stutz2019]_."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.lenses.proportion import proportion_interval
from filterlens.score import score

__all__ = ["MOVED", "ModelAttacks", "distance_ratio", "separation_auc", "success_rate"]

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]

_PAPER = "Stutz2019 §3"
#: Kinds of images whose distance is known: what they are, and their symbol.
KINDS = {
    "clean": ("clean images", "x"),
    "held_out": ("clean images, the manifold not knowing them", "x"),
    "attacked": ("successful regular adversarial examples", "x̃"),
    "on_manifold": ("successful on-manifold adversarial examples", "x̃"),
    "noise": ("clean images with noise inside [0, 1] of the regular perturbation's L2 norm", "x̃"),
}
MOVED = ("attacked", "on_manifold", "noise")


@dataclass(frozen=True, slots=True, eq=False)
class ModelAttacks:
    """One model's attacks, each array one number an image.

    Parameters
    ----------
    success, attackable
        By attack (`regular_success`, `on_manifold_success`): where the class changed, and where it was right before.
    label_kept
        Of successful on-manifold examples, whether the decoder places them in their class; None without a decoder.
    distances, norms_l2, norms_linf, angles
        By kind (`KINDS`), of the images that the kind is about.
    unknown_distance
        Of successful regular examples, to a manifold that does not know the clean image.
    """

    success: Mapping[str, Flags]
    attackable: Mapping[str, Flags]
    label_kept: Flags | None
    distances: Mapping[str, Values]
    norms_l2: Mapping[str, Values]
    norms_linf: Mapping[str, Values]
    angles: Mapping[str, Values]
    unknown_distance: Values


def success_rate(success: Flags, attackable: Flags) -> tuple[float, float, float]:
    """Fraction of attackable examples on which an attack succeeds, with its 95 % Wilson interval.

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
    low, high = proportion_interval(k, n)
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


def _median(values: Values) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def _mean(values: Values) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _declare(name: str, title: str, summary: str, formula: str, compute: Callable[..., float], **facts: Any) -> None:  # noqa: ANN401 - facts of a `Score`
    reference = facts.pop("reference", _PAPER)
    score(lens="manifold", name=name, title=title, summary=summary, formula=formula, reference=reference, **facts)(
        compute
    )


_FRACTION: dict[str, Any] = {"bounds": (0.0, 1.0), "unit": "share"}


def _has(kind: str) -> Callable[[ModelAttacks], bool]:
    return lambda attacked: kind in attacked.distances


def _rate(attack: str, part: int) -> Callable[[ModelAttacks], float]:
    return lambda attacked: success_rate(attacked.success[attack], attacked.attackable[attack])[part]


def _declare_success(name: str, title: str, summary: str, formula: str, pitfalls: str) -> None:
    """Declare a success rate and the two ends of its interval."""
    applies = _has("on_manifold") if name == "on_manifold_success" else None
    _declare(
        name,
        title,
        summary,
        formula,
        _rate(name, 0),
        higher_is_better=False,
        pitfalls=pitfalls,
        applies=applies,
        **_FRACTION,
    )
    for part, end, which in ((1, "low", "Lower"), (2, "high", "Upper")):
        _declare(
            f"{name}_{end}",
            f"{title} ({end} end)",
            f"{which} end of the 95 % Wilson interval of the {title[0].lower()}{title[1:]}.",
            "Wilson score interval at 95 %",
            _rate(name, part),
            auxiliary=True,
            applies=applies,
            **_FRACTION,
        )


def _declare_distance(kind: str) -> None:
    who, symbol = KINDS[kind]
    formula = f"‖{symbol} − π({symbol})‖₂, π the nearest point of the manifold"
    title = f"Distance to the manifold, {kind.replace('_', '-')}"
    facts: dict[str, Any] = {
        "reference": f"{_PAPER}.1",
        "bounds": (0.0, None),
        "unit": "L2",
        "applies": _has(kind),
    }
    _declare(
        f"distance_{kind}",
        title,
        f"Median distance to the data manifold of {who}.",
        f"median of {formula}",
        lambda attacked: _median(attacked.distances[kind]),
        pitfalls="Pixel units: it grows with image size and ε. Compare ratios across data sets.",
        auxiliary=kind in {"clean", "held_out", "noise"},
        **facts,
    )
    _declare(
        f"distance_{kind}_mean",
        f"{title} (mean)",
        f"Mean distance to the data manifold of {who}.",
        f"mean of {formula}",
        lambda attacked: _mean(attacked.distances[kind]),
        auxiliary=True,
        **facts,
    )


def _declare_direction(kind: str) -> None:
    who, _ = KINDS[kind]
    name = kind.replace("_", "-")
    _declare(
        f"distance_ratio_{kind}",
        f"Distance / ‖δ‖₂, {name}",
        f"Share of the perturbation's length that leaves the manifold, of {who}; 1: it leaves orthogonally.",
        "median of ‖x̃ − π(x̃)‖₂ / ‖x̃ − x‖₂",
        lambda attacked: _median(distance_ratio(attacked.distances[kind], attacked.norms_l2[kind])),
        reference=f"{_PAPER}.1",
        bounds=(0.0, None),
        chance="unclipped noise: about √(1 − d / D), d and D the dimensions of manifold and image",
        pitfalls="Near 1 for any direction that is not chosen, because the manifold is thin: compare with the noise of "
        "equal norm inside the image box.",
        auxiliary=kind == "noise",
        applies=_has(kind),
    )
    _declare(
        f"tangent_angle_{kind}",
        f"Angle to the tangent space, {name}",
        f"Angle between the perturbation and the manifold's tangent space at the clean image, of {who}.",
        "median of atan2(‖δ − Pδ‖₂, ‖Pδ‖₂) in degrees, P the projection on the tangent space",
        lambda attacked: _median(attacked.angles[kind]),
        reference=f"{_PAPER}.1",
        bounds=(0.0, 90.0),
        unit="°",
        chance="unclipped random directions: about 90° − (180°/π) √(d / D)",
        pitfalls="On a curved manifold a long step along it has a large angle too.",
        auxiliary=kind == "noise",
        applies=_has(kind),
    )


def _declare_norm(kind: str, norm: str) -> None:
    _declare(
        f"norm_{norm.lower()}_{kind}",
        f"Median {norm} of the {kind.replace('_', '-')} perturbation",
        f"Median {norm} norm of the perturbation, of {KINDS[kind][0]}.",
        "median of ‖x̃ − x‖",
        lambda attacked: _median((attacked.norms_l2 if norm == "L2" else attacked.norms_linf)[kind]),
        bounds=(0.0, None),
        auxiliary=True,
        applies=_has(kind),
    )


def _declare_auc(
    name: str,
    against: str,
    formula: str,
    compute: Callable[[ModelAttacks], float],
    applies: Callable[[ModelAttacks], bool],
) -> None:
    _declare(
        name,
        f"AUC, attacked or {against}",
        f"How well distance to the manifold tells regular adversarial examples from {against} images.",
        f"P(d_attacked > d_other) + P(d_attacked = d_other) / 2, {formula}",
        compute,
        reference=f"{_PAPER}.1",
        bounds=(0.0, 1.0),
        chance="0.5",
        pitfalls="It says that they can be told apart, not how far apart they are.",
        applies=applies,
    )


_declare_success(
    "regular_success",
    "Regular success rate",
    "Fraction of correctly classified images whose class a regular attack changes.",
    "#{f(x) = y, f(x + δ) ≠ y, ‖δ‖ ≤ ε} / #{f(x) = y}",
    "A weak attack looks like a robust model; attack, ε and steps are in the dump.",
)
_declare_success(
    "on_manifold_success",
    "On-manifold success rate",
    "Fraction of correctly classified images whose class an attack changes that stays on the manifold.",
    "#{f(dec(z)) = y, f(dec(z + ζ)) ≠ y, ‖ζ‖_∞ ≤ η} / #{f(dec(z)) = y}",
    "Only as good as the manifold: a learned decoder's blurred images are not the data's.",
)
_declare(
    "clean_error",
    "Test error",
    "Fraction of the attacked images that are misclassified before any attack.",
    "#{f(x) ≠ y} / n",
    lambda attacked: 1 - _mean(attacked.attackable["regular_success"].astype(np.float64)),
    higher_is_better=False,
    pitfalls="Of as many images as the lens attacks: the robustness lens knows it better.",
    **_FRACTION,
)
for _kind in KINDS:
    _declare_distance(_kind)
for _kind in MOVED:
    _declare_direction(_kind)
for _kind in ("attacked", "on_manifold"):
    for _norm in ("Linf", "L2"):
        _declare_norm(_kind, _norm)
_declare_auc(
    "auc_attacked_on_manifold",
    "on-manifold",
    "other = on-manifold",
    lambda attacked: separation_auc(attacked.distances["attacked"], attacked.distances["on_manifold"]),
    _has("on_manifold"),
)
_declare_auc(
    "auc_attacked_held_out",
    "clean held-out",
    "other = clean, both distances to a manifold that does not know the clean image",
    lambda attacked: separation_auc(attacked.unknown_distance, attacked.distances["held_out"]),
    _has("held_out"),
)
_declare(
    "on_manifold_label_kept",
    "Label kept on the manifold",
    "Fraction of on-manifold adversarial examples that the decoder itself still places in their class.",
    "#{argmin_c ‖x̃ − dec_c(z_c)‖₂ = y} / #{x̃}, dec_c the decoder of class c",
    lambda attacked: _mean(attacked.label_kept.astype(np.float64)),
    reference=f"{_PAPER}.2",
    chance="1 / classes",
    pitfalls="1 by construction on FONTS; a low share means that the classes' manifolds cross.",
    auxiliary=True,
    applies=lambda attacked: attacked.label_kept is not None,
    **_FRACTION,
)
