"""Scores of the manifold lens."""

from __future__ import annotations

from filterlens.scores.descriptor import Score

__all__ = ["SCORES"]

_PAPER = "Stutz2019 §3"
_KINDS = {
    "clean": ("clean images", "x"),
    "held_out": ("clean images, the manifold not knowing them", "x"),
    "attacked": ("successful regular adversarial examples", "x̃"),
    "on_manifold": ("successful on-manifold adversarial examples", "x̃"),
    "noise": ("clean images with noise of the regular perturbation's L2 norm", "x̃"),
}
_MOVED = ("attacked", "on_manifold", "noise")


def _success(name: str, title: str, summary: str, formula: str, pitfalls: str) -> tuple[Score, Score, Score]:
    """Describe a success rate and the two ends of its interval."""
    rate = Score(
        name=name,
        lens="manifold",
        title=title,
        summary=summary,
        formula=formula,
        reference=_PAPER,
        bounds=(0.0, 1.0),
        unit="share",
        higher_is_better=False,
        robust_is="lower" if name == "regular_success" else "",
        pitfalls=pitfalls,
    )
    ends = [
        Score(
            name=f"{name}_{end}",
            lens="manifold",
            title=f"{title} ({end} end)",
            summary=f"{which} end of the 95 % Wilson interval of the {title[0].lower()}{title[1:]}.",
            formula="Wilson score interval at 95 %",
            reference=_PAPER,
            bounds=(0.0, 1.0),
            unit="share",
            auxiliary=True,
        )
        for end, which in (("low", "Lower"), ("high", "Upper"))
    ]
    return rate, ends[0], ends[1]


def _distance(kind: str) -> tuple[Score, Score]:
    who, symbol = _KINDS[kind]
    formula = f"‖{symbol} − π({symbol})‖₂, π the nearest point of the manifold"
    median = Score(
        name=f"distance_{kind}",
        lens="manifold",
        title=f"Distance to the manifold, {kind.replace('_', '-')}",
        summary=f"Median distance to the data manifold of {who}.",
        formula=f"median of {formula}",
        reference=f"{_PAPER}.1",
        bounds=(0.0, None),
        unit="L2",
        pitfalls="Pixel units: it grows with image size and ε. Compare ratios across data sets.",
        auxiliary=kind in {"clean", "held_out", "noise"},
    )
    mean = Score(
        name=f"distance_{kind}_mean",
        lens="manifold",
        title=f"{median.title} (mean)",
        summary=f"Mean distance to the data manifold of {who}.",
        formula=f"mean of {formula}",
        reference=f"{_PAPER}.1",
        bounds=(0.0, None),
        unit="L2",
        auxiliary=True,
    )
    return median, mean


def _direction(kind: str) -> tuple[Score, Score]:
    who, _ = _KINDS[kind]
    name = kind.replace("_", "-")
    ratio = Score(
        name=f"distance_ratio_{kind}",
        lens="manifold",
        title=f"Distance / ‖δ‖₂, {name}",
        summary=f"Share of the perturbation's length that leaves the manifold, of {who}; 1: it leaves orthogonally.",
        formula="median of ‖x̃ − π(x̃)‖₂ / ‖x̃ − x‖₂",
        reference=f"{_PAPER}.1",
        bounds=(0.0, None),
        chance="noise of equal norm: about √(1 − d / D), d and D the dimensions of manifold and image",
        pitfalls="Near 1 for any direction that is not chosen, because the manifold is thin: compare with noise.",
        auxiliary=kind == "noise",
    )
    angle = Score(
        name=f"tangent_angle_{kind}",
        lens="manifold",
        title=f"Angle to the tangent space, {name}",
        summary=f"Angle between the perturbation and the manifold's tangent space at the clean image, of {who}.",
        formula="median of atan2(‖δ − Pδ‖₂, ‖Pδ‖₂) in degrees, P the projection on the tangent space",
        reference=f"{_PAPER}.1",
        bounds=(0.0, 90.0),
        unit="°",
        chance="random directions: about 90° − (180°/π) √(d / D)",
        pitfalls="On a curved manifold a long step along it has a large angle too.",
        auxiliary=kind == "noise",
    )
    return ratio, angle


def _norm(kind: str, norm: str) -> Score:
    return Score(
        name=f"norm_{norm.lower()}_{kind}",
        lens="manifold",
        title=f"Median {norm} of the {kind.replace('_', '-')} perturbation",
        summary=f"Median {norm} norm of the perturbation, of {_KINDS[kind][0]}.",
        formula="median of ‖x̃ − x‖",
        reference=_PAPER,
        bounds=(0.0, None),
        auxiliary=True,
    )


def _auc(name: str, against: str, formula: str) -> Score:
    return Score(
        name=name,
        lens="manifold",
        title=f"AUC, attacked or {against}",
        summary=f"How well distance to the manifold tells regular adversarial examples from {against} images.",
        formula=f"P(d_attacked > d_other) + P(d_attacked = d_other) / 2, {formula}",
        reference=f"{_PAPER}.1",
        bounds=(0.0, 1.0),
        chance="0.5",
        pitfalls="It says that they can be told apart, not how far apart they are.",
    )


SCORES: tuple[Score, ...] = (
    *_success(
        "regular_success",
        "Regular success rate",
        "Share of correctly classified images whose class a regular attack changes.",
        "#{f(x) = y, f(x + δ) ≠ y, ‖δ‖ ≤ ε} / #{f(x) = y}",
        "A weak attack looks like a robust model; attack, ε and steps are in the dump.",
    ),
    *_success(
        "on_manifold_success",
        "On-manifold success rate",
        "Share of correctly classified images whose class an attack changes that stays on the manifold.",
        "#{f(dec(z)) = y, f(dec(z + ζ)) ≠ y, ‖ζ‖_∞ ≤ η} / #{f(dec(z)) = y}",
        "Only as good as the manifold: a learned decoder's blurred images are not the data's.",
    ),
    Score(
        name="clean_error",
        lens="manifold",
        title="Test error",
        summary="Share of the attacked images that are misclassified before any attack.",
        formula="#{f(x) ≠ y} / n",
        reference=_PAPER,
        bounds=(0.0, 1.0),
        unit="share",
        higher_is_better=False,
        pitfalls="Of as many images as the lens attacks: the robustness lens knows it better.",
    ),
    *(score for kind in _KINDS for score in _distance(kind)),
    *(score for kind in _MOVED for score in _direction(kind)),
    *(_norm(kind, norm) for kind in ("attacked", "on_manifold") for norm in ("Linf", "L2")),
    _auc("auc_attacked_on_manifold", "on-manifold", "other = on-manifold"),
    _auc(
        "auc_attacked_held_out",
        "clean held-out",
        "other = clean, both distances to a manifold that does not know the clean image",
    ),
    Score(
        name="on_manifold_label_kept",
        lens="manifold",
        title="Label kept on the manifold",
        summary="Share of on-manifold adversarial examples that the decoder itself still places in their class.",
        formula="#{argmin_c ‖x̃ − dec_c(z_c)‖₂ = y} / #{x̃}, dec_c the decoder of class c",
        reference=f"{_PAPER}.2",
        bounds=(0.0, 1.0),
        unit="share",
        chance="1 / classes",
        pitfalls="1 by construction on FONTS; a low share means that the classes' manifolds cross.",
        auxiliary=True,
    ),
)
