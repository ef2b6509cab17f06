"""Curvature of the robust loss at the weights [Stutz2021]_."""

from __future__ import annotations

import math

from filterlens.lenses.flatness.losses import PerturbedLosses
from filterlens.score import score

__all__: list[str] = []

_AT = "H = Hessian of the mean loss on the adversarial examples, which are held fixed, in all perturbed parameters"


def _is_curved(losses: PerturbedLosses) -> bool:
    return losses.hessian is not None


@score(
    lens="flatness",
    name="hessian_eigenvalue",
    title="Largest Hessian eigenvalue",
    formula=f"λ_max(H); {_AT}",
    reference="Stutz2021",
    unit="nats per unit of weight²",
    higher_is_better=False,
    pitfalls=(
        "Depends on the scale of the weights, to which a network with BatchNorm is indifferent: compare with "
        "average-case flatness, which does not."
    ),
    auxiliary=True,
    applies=_is_curved,
)
def _eigenvalue(losses: PerturbedLosses) -> float:
    """Steepest curvature of the robust loss at the weights, by Lanczos' iteration."""
    return math.nan if losses.hessian is None else losses.hessian.highest


@score(
    lens="flatness",
    name="hessian_eigenvalue_error",
    title="Largest Hessian eigenvalue, error",
    formula="‖H v − λ v‖₂ of the last iterate: an eigenvalue lies within it",
    reference="filterlens",
    bounds=(0.0, None),
    unit="nats per unit of weight²",
    pitfalls="Where it is no small part of the eigenvalue, take more iterations (curvature).",
    auxiliary=True,
    applies=_is_curved,
)
def _eigenvalue_error(losses: PerturbedLosses) -> float:
    """How far the largest eigenvalue may lie from an eigenvalue of the Hessian."""
    return math.nan if losses.hessian is None else losses.hessian.error


@score(
    lens="flatness",
    name="hessian_trace",
    title="Trace of the Hessian",
    formula=f"mean over random z ∈ {{−1, 1}}^p of zᵀ H z; {_AT}",
    reference="Stutz2021",
    unit="nats per unit of weight²",
    higher_is_better=False,
    pitfalls="An estimate: hessian_trace_error is its standard error. Depends on the scale of the weights.",
    auxiliary=True,
    applies=_is_curved,
)
def _trace(losses: PerturbedLosses) -> float:
    """Curvature of the robust loss summed over all directions, by Hutchinson's estimator."""
    return math.nan if losses.hessian is None else float(losses.hessian.traces.mean())


@score(
    lens="flatness",
    name="hessian_trace_error",
    title="Trace of the Hessian, standard error",
    formula="sd(zᵀ H z) / √m over the m random vectors",
    reference="filterlens",
    bounds=(0.0, None),
    unit="nats per unit of weight²",
    pitfalls="Of the random vectors only, not of the images.",
    auxiliary=True,
    applies=_is_curved,
)
def _trace_error(losses: PerturbedLosses) -> float:
    """Scatter of the trace's estimates, as the standard error of their mean."""
    if losses.hessian is None or len(losses.hessian.traces) < 2:
        return math.nan
    return float(losses.hessian.traces.std(ddof=1) / math.sqrt(len(losses.hessian.traces)))


@score(
    lens="flatness",
    name="convexity",
    title="Convexity of the robust loss",
    formula=f"|λ_min(H)| / λ_max(H); {_AT}",
    reference="Stutz2021",
    bounds=(0.0, None),
    unit="ratio",
    higher_is_better=False,
    pitfalls="Near 0 where the loss is convex at the weights. λ_min converges as slowly as λ_max does.",
    auxiliary=True,
    applies=_is_curved,
)
def _convexity(losses: PerturbedLosses) -> float:
    """Size of the most negative curvature beside the most positive one."""
    found = losses.hessian
    return math.nan if found is None or found.highest <= 0 else abs(found.lowest) / found.highest
