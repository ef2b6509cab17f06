"""Pairs and their comparison on small tables whose answer can be counted on fingers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from filterlens.lens import get_score
from filterlens.report import read_run, robust_vs_normal
from filterlens.report.comparison import (
    compare_scores,
    incomplete_pairs,
    pair_models,
    robustness_column,
    scores_of,
)
from filterlens.report.correlation import correlate
from filterlens.score import Score

SPARSITY = get_score("sparsity")


def models(rows: list[tuple[str, bool | None, str, float]], **columns: object) -> pd.DataFrame:
    """Make a table of models from (id, robust, match, sparsity)."""
    df = pd.DataFrame(rows, columns=["model_id", "robust", "match", "sparsity"]).set_index("model_id")
    facts: dict[str, Any] = {"dataset": "cifar10", "architecture": "ResNet-20", "match_rule": "", "robust_acc": np.nan}
    return df.assign(**(facts | columns))


def shared(n: int) -> pd.DataFrame:
    """Make `n` normal models at 0.5 with two robust partners each, at 0.1 and 0.2."""
    rows: list[tuple[str, bool | None, str, float]] = []
    for i in range(n):
        rows += [(f"n{i}", False, "", 0.5), (f"a{i}", True, f"n{i}", 0.1), (f"b{i}", True, f"n{i}", 0.2)]
    return models(rows)


def test_the_unit_is_the_normal_model_and_its_partners_are_averaged() -> None:
    row = compare_scores(shared(5), [SPARSITY]).iloc[0]
    assert (row["n_pairs"], row["n_normal"]) == (10, 5)
    assert row["difference"] == pytest.approx(-0.35)
    assert row["robust_mean"] == pytest.approx(0.15)
    assert row["p"] == 2 / 2**5, "ten pairs over five normal models are five units, not ten"
    assert row["effect"] == -1
    assert (row["n_expected"], row["n_higher"]) == (10, 0)


def test_a_partner_that_is_repeated_does_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    rows: list[tuple[str, bool | None, str, float]] = []
    for i in range(6):
        rows += [(f"n{i}", False, "", 0.5), (f"r{i}", True, f"n{i}", float(rng.uniform(0, 0.5)))]
    once = compare_scores(models(rows), [SPARSITY]).iloc[0]
    rows += [(f"{name}-again", robust, match, value) for name, robust, match, value in rows if robust]
    twice = compare_scores(models(rows), [SPARSITY]).iloc[0]
    for name in ("difference", "ci_low", "ci_high", "p", "effect"):
        assert twice[name] == pytest.approx(once[name])
    assert twice["n_pairs"] == 2 * once["n_pairs"]


def test_under_four_normal_models_there_is_an_effect_but_no_interval_and_no_p_and_it_says_so() -> None:
    row = compare_scores(shared(3), [SPARSITY]).iloc[0]
    assert np.isnan(row["p"])
    assert np.isnan(row["p_adjusted"])
    assert row["effect"] == -1
    assert np.isnan([row["ci_low"], row["ci_high"]]).all()
    assert row["note"] == "no p-value and no interval: fewer than 4 distinct normal models"


@pytest.mark.parametrize(
    ("differences", "said"), [([1, 2, 3, 4, 5, 6], ""), ([1, 1, 1, 2, 1, 90], "skewed: the interval")]
)
def test_an_interval_over_strongly_skewed_differences_is_called_too_narrow_where_it_stands(
    differences: list[float], said: str
) -> None:
    rows: list[tuple[str, bool | None, str, float]] = []
    for i, difference in enumerate(differences):
        rows += [(f"n{i}", False, "", 0.0), (f"r{i}", True, f"n{i}", difference)]
    note = compare_scores(models(rows), [SPARSITY]).iloc[0]["note"]
    assert said in note
    assert ("the interval is likely too narrow" in note) == bool(said)


def test_p_values_are_adjusted_over_the_whole_table() -> None:
    df = shared(6)
    df["orthogonality"] = np.random.default_rng(0).uniform(size=len(df))
    table = compare_scores(df, [SPARSITY, get_score("orthogonality")])
    first, second = table["p"]
    assert first < second
    assert table["p_adjusted"].tolist() == pytest.approx([min(2 * first, second), second])


def test_a_score_without_a_claim_has_no_expected_share() -> None:
    unclaimed = Score("sparsity", "filters", "Sparsity", "", "", "")
    assert np.isnan(compare_scores(shared(4), [unclaimed])["n_expected"].iloc[0])


def test_pairs_are_compared_within_each_dataset() -> None:
    df = pd.concat([shared(4), shared(5).rename(index=lambda name: f"{name}x").assign(dataset="cifar100")])
    df["match"] = [f"{m}x" if d == "cifar100" and m else m for m, d in zip(df["match"], df["dataset"], strict=True)]
    table = compare_scores(df, [SPARSITY], by="dataset")
    assert table[["dataset", "n_normal"]].to_numpy().tolist() == [["cifar10", 4], ["cifar100", 5]]


def test_a_robust_model_without_partner_and_a_pair_with_one_side_missing_are_listed() -> None:
    normal: list[tuple[str, bool | None, str, float]] = [("n", False, "", 0.5), ("n2", False, "", np.nan)]
    df = models([*normal, ("r", True, "n", np.nan), ("alone", True, "", 0.3), ("r2", True, "n2", 0.1)])
    listed = incomplete_pairs(df, [SPARSITY])
    assert listed["robust"].tolist() == ["alone", "r", "r2"]
    sides = ["no scores of the robust model", "no scores of the normal model"]
    assert listed["missing"].tolist() == ["no normal partner", *sides]
    assert compare_scores(df, [SPARSITY]).empty


def test_unknown_robustness_is_neither_robust_nor_normal() -> None:
    df = models([("n", False, "", 0.5), ("u", None, "n", 0.1), ("r", True, "n", 0.2)])
    assert pair_models(df)["robust"].tolist() == ["r"]


def test_correlation_is_within_dataset_and_has_none_under_four_models() -> None:
    rows: list[tuple[str, bool | None, str, float]] = [(f"r{i}", True, "", i / 10) for i in range(7)]
    df = models(rows, robust_acc=[60.0 - i for i in range(7)])
    df["architecture"] = ["A"] * 4 + ["B"] * 3
    table = correlate(df, [SPARSITY])
    assert table[["architecture", "n"]].to_numpy().tolist() == [["", 7], ["A", 4]]
    assert table["rho"].tolist() == pytest.approx([-1, -1])


def test_published_accuracy_is_preferred_and_never_mixed_with_measured_one() -> None:
    df = shared(4).assign(robust_accuracy=0.4)
    assert robustness_column(df) == "robust_accuracy"
    df.loc[["a0", "a1", "a2"], "robust_acc"] = 50.0
    assert robustness_column(df) == "robust_accuracy"
    df.loc["a3", "robust_acc"] = 50.0
    assert robustness_column(df) == "robust_acc"
    assert robustness_column(shared(4)) == ""


def test_a_metric_of_a_lens_that_is_not_installed_keeps_its_name() -> None:
    scores = pd.DataFrame({"metric": ["strange", "sparsity"], "lens": ["foreign", "filters"]})
    found = scores_of(scores)
    assert list(found) == ["sparsity", "strange"]
    assert found["strange"].lens == "foreign"


def test_a_runs_comparison_finds_what_was_put_in(make_run: Callable[..., Path]) -> None:
    table = robust_vs_normal(read_run(make_run(16))).set_index("metric")
    assert table.loc["sparsity", "difference"] == pytest.approx(-0.15, abs=0.02)
    assert table.loc["variance_entropy", "effect"] == 1
    assert table.loc["sparsity", "n_normal"] == 8
    assert table.loc["sparsity", "p"] == pytest.approx(2 / 2**8)
