"""Scores of the robustness lens, from one model's logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.lenses.proportion import proportion_interval
from filterlens.lenses.robustness.metrics import (
    Labels,
    Logits,
    accuracy,
    confidence,
    cross_entropy,
    expected_calibration_error,
    overconfidence,
)
from filterlens.score import score

__all__ = ["Outputs"]

_ATTACK = "x̃ of PGD-20, for each image the highest loss over all iterates and restarts"
_FEW = "On few images the interval is wide; compare models on the same images and at the same ε only."
_CALIBRATION = "Few images a bin bias it upwards: with n images a perfectly calibrated model has about √(bins / n)."


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """One model's logits, shape (n, classes) each, and the labels, shape (n,)."""

    labels: Labels
    clean: Logits
    attacked: Logits
    autoattack: Logits | None = None
    attacked_float32: Logits | None = None
    affine: Logits | None = None
    rotation: Logits | None = None
    first_stage: NDArray[np.float64] | None = None  # relative change of each filter, shape (c_out,)


def _has_autoattack(outputs: Outputs) -> bool:
    return outputs.autoattack is not None


def _has_float32(outputs: Outputs) -> bool:
    return outputs.attacked_float32 is not None


def _has_transformations(outputs: Outputs) -> bool:
    return outputs.affine is not None and outputs.rotation is not None


def _on(side: str, measure: Callable[[Any, Labels], float]) -> Callable[[Outputs], float]:
    """Return a function of `Outputs` that measures the logits of one side."""
    return lambda outputs: measure(getattr(outputs, side), outputs.labels)


def _declare(name: str, title: str, summary: str, formula: str, compute: Callable[..., float], **facts: Any) -> None:  # noqa: ANN401 - facts of a `Score`
    reference = facts.pop("reference", "Madry2018 §2")
    score(lens="robustness", name=name, title=title, summary=summary, formula=formula, reference=reference, **facts)(
        compute
    )


_FRACTION: dict[str, Any] = {"bounds": (0.0, 1.0), "unit": "share"}
_LOSS: dict[str, Any] = {"bounds": (0.0, None), "unit": "nats"}

_declare(
    "clean_accuracy",
    "Clean accuracy",
    "Accuracy: fraction of images classified correctly.",
    "mean [argmax f(x) = y]",
    _on("clean", accuracy),
    higher_is_better=True,
    chance="1 / classes",
    pitfalls=_FEW,
    **_FRACTION,
)
_declare(
    "robust_accuracy",
    "Robust accuracy (PGD)",
    "Fraction of images still classified correctly under PGD.",
    f"mean [argmax f(x̃) = y], {_ATTACK}",
    _on("attacked", accuracy),
    higher_is_better=True,
    robust_is="higher",
    claim="Madry2018, §5: networks trained on PGD examples keep much of their accuracy under PGD",
    chance="0",
    pitfalls="An upper bound: a stronger attack finds less, above all where gradients vanish (see AutoAttack).",
    reference="Stutz2021 §3",
    **_FRACTION,
)
_declare(
    "robust_accuracy_autoattack",
    "Robust accuracy (AutoAttack)",
    "Fraction of images still classified correctly under AutoAttack's standard version.",
    "mean [argmax f(x̃) = y], x̃ of APGD-CE, APGD-T, FAB-T and Square in turn",
    _on("autoattack", accuracy),
    higher_is_better=True,
    chance="0",
    pitfalls="Not for randomised or adaptive defences. Far below PGD means that gradients are masked.",
    reference="Croce2020",
    applies=_has_autoattack,
    **_FRACTION,
)


for _name, _title, _summary, _formula, _reference, _kind in (
    (
        "robust_accuracy_affine",
        "Robust accuracy (affine)",
        "Fraction of images still classified correctly under the worst affine transformation found by gradients.",
        "mean_i min_t [argmax f(t(x_i)) = y_i], t ∈ R⁶ within 0.3 of none, L∞",
        "Stutz2019 §3.4",
        "affine",
    ),
    (
        "robust_accuracy_rotation",
        "Robust accuracy (rotation)",
        "Fraction of images still classified correctly under every rotation with translation of a grid.",
        "mean_i min_t [argmax f(t(x_i)) = y_i], rotation within ±30°, translation within ±3 pixels (24 of 224)",
        "Engstrom2019 §3",
        "rotation",
    ),
):
    _declare(
        _name,
        _title,
        _summary,
        _formula,
        _on(_kind, accuracy),
        higher_is_better=True,
        chance="0",
        pitfalls="What leaves the frame is cut off and black comes in: part of the fall may be that.",
        reference=_reference,
        applies=_has_transformations,
        **_FRACTION,
    )


def _mean_loss(logits: Logits, labels: Labels) -> float:
    return float(cross_entropy(logits, labels).mean())


_declare(
    "clean_loss",
    "Clean loss",
    "Mean cross-entropy on clean images.",
    "mean −log softmax(f(x))_y",
    _on("clean", _mean_loss),
    higher_is_better=False,
    chance="ln(classes) for a constant guess",
    pitfalls="Grows with over-confidence even where accuracy is the same.",
    **_LOSS,
)
_declare(
    "robust_loss",
    "Robust loss",
    "Mean cross-entropy on PGD examples.",
    f"mean −log softmax(f(x̃))_y, {_ATTACK}",
    _on("attacked", _mean_loss),
    higher_is_better=False,
    chance="ln(classes) for a constant guess",
    pitfalls="Unbounded: a few confidently wrong images decide it, and normal models reach tens of nats.",
    reference="Stutz2021 §3",
    **_LOSS,
)


def _mean_confidence(logits: Logits, labels: Labels) -> float:
    del labels
    return float(confidence(logits).mean())


_LESS_OVERCONFIDENT = (
    "Grabinski2022Conf, abstract: adversarially trained models are much less over-confident, on clean images too"
)

for _side, _x in (("clean", "x"), ("attacked", "x̃")):
    _declare(
        f"confidence_{_side}",
        f"Confidence ({_side})",
        f"Mean probability of the predicted class on {_side} images.",
        f"mean max_k softmax(f({_x}))_k",
        _on(_side, _mean_confidence),
        chance="1 / classes",
        pitfalls="Depends on the temperature of the logits, which accuracy does not.",
        reference="Grabinski2022Conf §3",
        **_FRACTION,
    )
    _declare(
        f"overconfidence_{_side}",
        f"Over-confidence ({_side})",
        f"How much surer the model is than it is right on {_side} images.",
        f"mean max_k softmax(f({_x}))_k − accuracy",
        _on(_side, overconfidence),
        bounds=(-1.0, 1.0),
        unit="share",
        higher_is_better=False,
        robust_is="lower",
        claim=_LESS_OVERCONFIDENT,
        chance="0 for a calibrated model",
        pitfalls="Negative means under-confident; over- and under-confident regions cancel, in ECE they do not.",
        reference="Grabinski2022Conf §3",
    )
    _declare(
        f"ece_{_side}",
        f"ECE ({_side})",
        f"Expected calibration error on {_side} images, 15 equal bins of confidence.",
        "Σ_b (n_b / n) |accuracy_b − confidence_b|",
        _on(_side, expected_calibration_error),
        higher_is_better=False,
        robust_is="lower",
        claim=_LESS_OVERCONFIDENT,
        chance="0 for a calibrated model",
        pitfalls=_CALIBRATION,
        reference="Grabinski2022Conf §3",
        **_FRACTION,
    )


def _interval_end(end: int) -> Callable[[Logits, Labels], float]:
    def measure(logits: Logits, labels: Labels) -> float:
        return proportion_interval(round(accuracy(logits, labels) * len(labels)), len(labels))[end]

    return measure


for _name, _title, _side, _applies in (
    ("clean_accuracy", "Clean accuracy", "clean", None),
    ("robust_accuracy", "Robust accuracy (PGD)", "attacked", None),
    ("robust_accuracy_autoattack", "Robust accuracy (AutoAttack)", "autoattack", _has_autoattack),
    ("robust_accuracy_affine", "Robust accuracy (affine)", "affine", _has_transformations),
    ("robust_accuracy_rotation", "Robust accuracy (rotation)", "rotation", _has_transformations),
):
    for _end, _suffix, _word in ((0, "low", "lower"), (1, "high", "upper")):
        _declare(
            f"{_name}_{_suffix}",
            f"{_title}, {_word} end",
            f"{_word.capitalize()} end of the 95 % Wilson interval of {_title.lower()}.",
            "(p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n), z = 1.96",
            _on(_side, _interval_end(_end)),
            reference="Wilson1927",
            pitfalls="Says how far other images of the same kind would move it, not other attacks.",
            auxiliary=True,
            applies=_applies,
            **_FRACTION,
        )

_declare(
    "robust_loss_float32",
    "Robust loss (float32)",
    "Robust loss of the same attacked images in float32: the loss of precision from bfloat16 is the difference.",
    "mean −log softmax(f(x̃))_y in float32",
    _on("attacked_float32", _mean_loss),
    reference="filterlens",
    pitfalls="Only measured under bf16.",
    auxiliary=True,
    applies=_has_float32,
    **_LOSS,
)


@score(
    lens="robustness",
    title="Relative change of the first stage",
    formula="mean over filters of ‖r(x) − r(x̃)‖₂ / ‖r(x)‖₂, r the first convolution's output behind its normalisation "
    "and activation",
    reference="Gavrikov2022Lens figure 9",
    bounds=(0.0, None),
    pitfalls="Of the few images that the dump records. What follows the convolution differs between architectures, and "
    "without an activation r has negative values: compare within one architecture.",
    applies=lambda outputs: outputs.first_stage is not None,
)
def first_stage_change(outputs: Outputs) -> float:
    """How much an attack changes what the first convolution puts out, relative to clean images; mean over filters."""
    change = np.array([]) if outputs.first_stage is None else outputs.first_stage
    known = change[np.isfinite(change)]
    return float(known.mean()) if len(known) else math.nan
