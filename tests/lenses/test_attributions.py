"""A claim about robust models has its paper and section, and what no paper claims is listed without one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from filterlens.errors import InputError
from filterlens.lens import all_scores
from filterlens.score import Score, declare

CLAIMED = {
    "sparsity": ("lower", "Gavrikov2022Lens"),
    "variance_entropy": ("higher", "Gavrikov2022Lens"),
    "orthogonality": ("higher", "Gavrikov2022Lens"),
    "aliasing": ("lower", "Grabinski2022"),
    "aliasing_relative": ("lower", "Grabinski2022"),
    "alias_energy": ("lower", "Grabinski2022"),
    "low_frequency_share": ("higher", "Lukasik2023"),
    "spectral_centroid": ("lower", "Lukasik2023"),
    "robust_accuracy": ("higher", "Madry2018"),
    "overconfidence_clean": ("lower", "Grabinski2022Conf"),
    "overconfidence_attacked": ("lower", "Grabinski2022Conf"),
    "ece_clean": ("lower", "Grabinski2022Conf"),
    "ece_attacked": ("lower", "Grabinski2022Conf"),
    "critical_bandwidth": ("higher", "Subramanian2023"),
    "corruption_accuracy_noise": ("higher", "Yin2019"),
    "corruption_accuracy_low_frequency": ("lower", "Yin2019"),
}
LENSES = {
    "filters",
    "downsampling",
    "robustness",
    "flatness",
    "manifold",
    "spectra",
    "frequency",
    "perturbation",
    "corruption",
}


def test_these_scores_have_a_claim_about_robust_and_normal_models_and_no_others() -> None:
    found = {
        s.name: (s.robust_is, s.claim.split(",")[0]) for s in all_scores().values() if s.lens in LENSES and s.claim
    }
    assert found == CLAIMED


def test_a_claim_names_a_paper_a_section_and_what_it_says() -> None:
    for score in all_scores().values():
        assert not score.claim or re.fullmatch(r"\w+, (abstract|§[\d.]+|line 1): .{3,}", score.claim), score.name


def test_flatness_claims_nothing_because_stutz2021_compares_robust_models_only() -> None:
    assert not any(s.claim or s.robust_is for s in all_scores().values() if s.lens == "flatness")


def test_aliasing_is_our_reading_wherever_a_score_is_named() -> None:
    aliasing = all_scores()["aliasing"]
    assert "our reading" in aliasing.title
    assert "our reading" in aliasing.reference
    assert "our reading" in aliasing.claim
    for name in ("aliasing_relative", "alias_energy", "low_frequency_share", "spectral_centroid"):
        assert "ours" in all_scores()[name].reference
        assert "a score of ours" in all_scores()[name].claim


@pytest.mark.parametrize("facts", [{"robust_is": "lower"}, {"claim": "Key2022, abstract: robust models are lower"}])
def test_a_direction_without_its_source_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"score 'lonely' has \w+ alone; give robust_is='higher' or 'lower' together"):
        declare(Score("lonely", "filters", "Lonely", "", "", "", **facts))
    assert "lonely" not in all_scores()
