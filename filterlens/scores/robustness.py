"""Scores of the robustness lens."""

from __future__ import annotations

from dataclasses import replace

from filterlens.scores.descriptor import Score

__all__ = ["SCORES"]

_ATTACK = "x̃ of PGD-20, for each image the highest loss over all iterates and restarts"
_FEW = "On few images the interval is wide; compare models on the same images and at the same ε only."
_CALIBRATION = "Few images a bin bias it upwards: with n images a perfectly calibrated model has about √(bins / n)."


def _score(name: str, title: str, summary: str, formula: str, **facts: object) -> Score:
    blank = Score(name=name, lens="robustness", title=title, summary=summary, formula=formula, reference="Madry2018 §2")
    return replace(blank, **facts)  # type: ignore[arg-type]


def _share(name: str, title: str, summary: str, formula: str, **facts: object) -> Score:
    return _score(name, title, summary, formula, **({"bounds": (0.0, 1.0), "unit": "share"} | facts))


def _confidence_scores(suffix: str, where: str, x: str) -> tuple[Score, ...]:
    paper = {"reference": "Grabinski2022Conf §3"}
    return (
        _share(
            f"confidence{suffix}",
            f"Confidence ({where})",
            f"Mean probability of the predicted class on {where} images.",
            f"mean max_k softmax(f({x}))_k",
            robust_is="lower",
            chance="1 / classes",
            pitfalls="Depends on the temperature of the logits, which accuracy does not.",
            **paper,
        ),
        _share(
            f"overconfidence{suffix}",
            f"Over-confidence ({where})",
            f"How much surer the model is than it is right on {where} images.",
            f"mean max_k softmax(f({x}))_k − accuracy",
            higher_is_better=False,
            robust_is="lower",
            chance="0 for a calibrated model",
            pitfalls="Negative means under-confident; over- and under-confident regions cancel, in ECE they do not.",
            **(paper | {"bounds": (-1.0, 1.0)}),
        ),
        _share(
            f"ece{suffix}",
            f"ECE ({where})",
            f"Expected calibration error on {where} images, 15 equal bins of confidence.",
            "Σ_b (n_b / n) |accuracy_b − confidence_b|",
            higher_is_better=False,
            robust_is="lower",
            chance="0 for a calibrated model",
            pitfalls=_CALIBRATION,
            **paper,
        ),
    )


def _interval(name: str, title: str) -> tuple[Score, ...]:
    return tuple(
        _share(
            f"{name}_{end}",
            f"{title}, {word} end",
            f"{word.capitalize()} end of the 95 % Wilson interval of {title.lower()}.",
            "(p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n), z = 1.96",
            reference="Wilson1927",
            pitfalls="Says how far other images of the same kind would move it, not other attacks.",
            auxiliary=True,
        )
        for end, word in (("low", "lower"), ("high", "upper"))
    )


SCORES: tuple[Score, ...] = (
    _share(
        "clean_accuracy",
        "Clean accuracy",
        "Share of images told right.",
        "mean [argmax f(x) = y]",
        higher_is_better=True,
        robust_is="lower",
        chance="1 / classes",
        pitfalls=_FEW,
    ),
    _share(
        "robust_accuracy",
        "Robust accuracy (PGD)",
        "Share of images still told right under PGD.",
        f"mean [argmax f(x̃) = y], {_ATTACK}",
        higher_is_better=True,
        robust_is="higher",
        chance="0",
        pitfalls="An upper bound: a stronger attack finds less, above all where gradients vanish (see AutoAttack).",
        reference="Stutz2021 §3",
    ),
    _share(
        "robust_accuracy_autoattack",
        "Robust accuracy (AutoAttack)",
        "Share of images still told right under AutoAttack's standard version.",
        "mean [argmax f(x̃) = y], x̃ of APGD-CE, APGD-T, FAB-T and Square in turn",
        higher_is_better=True,
        robust_is="higher",
        chance="0",
        pitfalls="Not for randomised or adaptive defences. Far below PGD means that gradients are masked.",
        reference="Croce2020",
    ),
    _score(
        "clean_loss",
        "Clean loss",
        "Mean cross-entropy on clean images.",
        "mean −log softmax(f(x))_y",
        bounds=(0.0, None),
        unit="nats",
        higher_is_better=False,
        chance="ln(classes) for a constant guess",
        pitfalls="Grows with over-confidence even where accuracy is the same.",
    ),
    _score(
        "robust_loss",
        "Robust loss",
        "Mean cross-entropy on PGD examples.",
        f"mean −log softmax(f(x̃))_y, {_ATTACK}",
        bounds=(0.0, None),
        unit="nats",
        higher_is_better=False,
        robust_is="lower",
        chance="ln(classes) for a constant guess",
        pitfalls="Unbounded: a few confidently wrong images decide it, and normal models reach tens of nats.",
        reference="Stutz2021 §3",
    ),
    *_confidence_scores("_clean", "clean", "x"),
    *_confidence_scores("_attacked", "attacked", "x̃"),
    *_interval("clean_accuracy", "Clean accuracy"),
    *_interval("robust_accuracy", "Robust accuracy (PGD)"),
    *_interval("robust_accuracy_autoattack", "Robust accuracy (AutoAttack)"),
    _score(
        "robust_loss_float32",
        "Robust loss (float32)",
        "Robust loss of the same attacked images without bfloat16: what the narrower numbers cost.",
        "mean −log softmax(f(x̃))_y in float32",
        bounds=(0.0, None),
        unit="nats",
        reference="filterlens",
        pitfalls="Only measured under bf16.",
        auxiliary=True,
    ),
)
