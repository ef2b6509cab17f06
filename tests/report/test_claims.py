"""Claims on the page: their source, what became of them, and what would refute them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from report.synthetic import score_rows, write_run, zoo

from filterlens.report import read_run, write_report
from filterlens.report.claims import claims, limit_of, verdict
from filterlens.report.comparison import compare_scores, main_scores


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [
        (-0.1, 0.01, "holds"),
        (0.1, 0.01, "contradicted"),
        (0.1, 0.2, "not shown"),
        (-0.1, float("nan"), "not tested"),
        (0.0, float("nan"), "no difference at all"),
    ],
)
def test_a_verdict_goes_by_side_and_adjusted_p(difference: float, p: float, expected: str) -> None:
    row = {"difference": difference, "effect": difference, "p_adjusted": p, "robust_is": "lower"}
    assert verdict(row) == expected


def test_the_claims_of_a_run_say_source_finding_and_refutation(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run(16))
    found = {one.score: one for one in claims(compare_scores(run.models, main_scores(run)), main_scores(run))}
    assert len(found) == 6  # three scores of filters, three of downsampling
    sparsity = found["Sparsity"]
    assert sparsity.source.startswith("Gavrikov & Keuper: Adversarial Robustness through the Lens")
    assert sparsity.source.endswith(", abstract")
    assert sparsity.says == "robust models form less sparse filters than their normal counterparts"
    assert sparsity.verdict == "holds"
    assert sparsity.found.startswith("16 of 16 pairs lower, mean difference −0.1")
    assert sparsity.refuted_by == "robust models higher on average, adjusted p < 0.05"


def test_a_claim_that_no_pair_tests_is_said_to_be_untested(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", models := zoo(8), score_rows(models, 2)))
    found = claims(compare_scores(run.models.iloc[:1], main_scores(run)), main_scores(run))
    assert {one.verdict for one in found} == {"not tested"}
    assert {one.found for one in found} == {"No pair has a value on both sides."}


@pytest.mark.parametrize(("n", "said"), [(1, "at least 1.000"), (4, "at least 0.125"), (5, "at least 0.062"), (6, "")])
def test_too_few_normal_models_are_said_once(n: int, said: str) -> None:
    text = limit_of(pd.DataFrame({"robust_is": ["lower", ""], "n_normal": [n, 1]}))
    assert said in text
    assert bool(text) == bool(said)


def test_the_page_shows_claims_with_their_source(make_run: Callable[..., Path]) -> None:
    text = write_report(make_run(16), figures=()).read_text(encoding="utf-8")
    assert text.count('<span class="verdict holds">holds</span>') == 6
    assert "Aliasing and adversarial robust generalization of CNNs" in text
    assert text.count("<dt>would refute it</dt>") == 6
    assert "so that nothing can be shown or refuted" not in text
