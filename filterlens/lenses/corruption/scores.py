"""Scores of the corruption lens, from one model's accuracy under every corruption and severity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.lenses.corruption.benchmark import ALEXNET_ERRORS, GROUPS
from filterlens.score import score

__all__ = ["CorruptionAccuracy", "accuracy_of"]


@dataclass(frozen=True, slots=True, eq=False)
class CorruptionAccuracy:
    """One model's accuracies.

    Parameters
    ----------
    clean
        On clean images.
    by_corruption
        Under each corruption, shape (5,), by severity.
    imagenet
        Whether the classes are ImageNet's, so that AlexNet's errors are the baseline.
    """

    clean: float
    by_corruption: Mapping[str, NDArray[np.float64]]
    imagenet: bool = False


def accuracy_of(accuracies: CorruptionAccuracy, names: tuple[str, ...]) -> float:
    """Mean accuracy over those of the corruptions that were measured, and over severities; NaN where none was."""
    found = [accuracies.by_corruption[name].mean() for name in names if name in accuracies.by_corruption]
    return float(np.mean(found)) if found else float("nan")


_SHARE: dict[str, Any] = {"lens": "corruption", "bounds": (0.0, 1.0), "unit": "share"}
_OURS = (
    "Frost is measured in the published folders only. Images that are corrupted here come near the published ones and "
    "are not theirs: publish numbers of the folders. Compare models on the same images."
)


@score(
    title="Accuracy under corruptions",
    formula="mean over corruptions c and severities s of A_{s,c}, A_{s,c} the accuracy on images under c of severity s",
    reference="Croce2021 §3, on Hendrycks2019",
    higher_is_better=True,
    chance="1 / classes",
    pitfalls=_OURS,
    **_SHARE,
)
def corruption_accuracy(accuracies: CorruptionAccuracy) -> float:
    """Fraction of images classified correctly, mean over common corruptions of five severities."""
    return accuracy_of(accuracies, tuple(accuracies.by_corruption))


@score(
    title="Mean corruption error (unnormalised)",
    formula="mean over c and s of E_{s,c} = 1 − A_{s,c}: divided by no baseline, as is usual for CIFAR-10-C",
    reference="Hendrycks2019 §4.1, without its baseline",
    higher_is_better=False,
    chance="1 − 1 / classes",
    pitfalls="1 − corruption_accuracy. Not to be held beside mCE of ImageNet-C, which is divided by AlexNet's errors.",
    auxiliary=True,
    applies=lambda accuracies: not accuracies.imagenet,
    **_SHARE,
)
def mean_corruption_error(accuracies: CorruptionAccuracy) -> float:
    """Mean error over common corruptions and severities, for data sets without a published baseline."""
    return 1 - corruption_accuracy(accuracies)


@score(
    lens="corruption",
    title="mCE (AlexNet = 1)",
    formula="mean over c of Σ_s E_{s,c} / Σ_s E^AlexNet_{s,c}, AlexNet's published errors on ImageNet-C",
    reference="Hendrycks2019 §4.1",
    bounds=(0.0, None),
    higher_is_better=False,
    chance="about 1.28: an error of 1 over AlexNet's mean error of 0.78",
    pitfalls="Published in percent. Of ImageNet's classes only. " + _OURS,
    applies=lambda accuracies: accuracies.imagenet,
)
def mce_alexnet(accuracies: CorruptionAccuracy) -> float:
    """Mean corruption error of ImageNet classifiers, each corruption's divided by AlexNet's."""
    ratios = [float((1 - found).mean()) / ALEXNET_ERRORS[name] for name, found in accuracies.by_corruption.items()]
    return float(np.mean(ratios))


@score(
    lens="corruption",
    title="Accuracy lost to corruptions",
    formula="clean accuracy − corruption_accuracy",
    reference="Hendrycks2019 §4.1, as its relative corruption error without a baseline",
    bounds=(-1.0, 1.0),
    unit="share",
    higher_is_better=False,
    pitfalls="Small for a model that is no good on clean images either.",
)
def corruption_drop(accuracies: CorruptionAccuracy) -> float:
    """By how much common corruptions lower accuracy."""
    return accuracies.clean - corruption_accuracy(accuracies)


_TRADE = (
    "Yin2019, abstract: adversarial training improves robustness to corruptions of high frequencies and reduces it for "
    "those of low frequencies; which they are is Ford2019's finding that it cites"
)
_KINDS: tuple[tuple[str, str, tuple[str, ...], dict[str, Any]], ...] = (
    ("noise", "noise", GROUPS["noise"], {"robust_is": "higher", "claim": _TRADE}),
    ("blur", "blur", GROUPS["blur"], {}),
    ("weather", "weather", GROUPS["weather"], {}),
    ("digital", "digital artefacts", GROUPS["digital"], {}),
    ("low_frequency", "fog and contrast", ("fog", "contrast"), {"robust_is": "lower", "claim": _TRADE}),
)


def _over(names: tuple[str, ...]) -> Callable[[CorruptionAccuracy], float]:
    return lambda accuracies: accuracy_of(accuracies, names)


for _kind, _words, _names, _facts in _KINDS:
    score(
        name=f"corruption_accuracy_{_kind}",
        title=f"Accuracy under {_words}",
        summary=f"Fraction of images classified correctly, mean over {', '.join(_names)} of five severities.",
        formula=f"mean over c in {{{', '.join(_names)}}} and s of A_{{s,c}}",
        reference="Hendrycks2019 §3" if _kind in GROUPS else "Yin2019 §4",
        higher_is_better=True,
        chance="1 / classes",
        pitfalls=_OURS,
        **_SHARE,
        **_facts,
    )(_over(_names))


@score(
    title="Clean accuracy of the corrupted images",
    formula="mean [argmax f(x) = y]",
    reference="Hendrycks2019 §4.1",
    higher_is_better=True,
    chance="1 / classes",
    pitfalls="Of the run's own images: the corrupted ones' originals where the folder is of the same data set.",
    auxiliary=True,
    **_SHARE,
)
def corruption_clean_accuracy(accuracies: CorruptionAccuracy) -> float:
    """Fraction of clean images classified correctly, from which the loss is counted."""
    return accuracies.clean
