"""Correlations are within robust models of one data set, with an interval that covers and a test that is honest."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from filterlens.commands.reference import reference_scores
from filterlens.report.correlation import correlate_shifts, partial_rho, rank_correlation, within_robust
from filterlens.report.data import read_run
from filterlens.report.tables import report_tables
from filterlens.score import Score

ROOT = Path(__file__).resolve().parents[2]


def clusters(n: int = 12) -> pd.DataFrame:
    """Robust and normal models far apart, within which two scores have nothing to do with each other."""
    rng = np.random.default_rng(3)
    far = {True: 50.0, False: 0.0, None: 0.0}
    rows = [
        {"robust": robust, "dataset": dataset, "x": rng.normal() + far[robust], "y": rng.normal() + far[robust]}
        for dataset in ("a", "b")
        for robust in (True, False, None)
        for _ in range(n)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_clusters_are_no_correlation() -> None:
    models = clusters()
    together = stats.spearmanr(models["x"], models["y"])
    assert together.statistic > 0.5
    assert together.pvalue < 1e-4
    found = within_robust(models, "x", "y")
    assert list(found) == ["a", "b"]
    for one in found.values():
        assert one.n == 12
        assert one.low < 0 < one.high
        assert one.p > 0.05


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("n", [6, 20])
def test_the_interval_covers_and_the_test_rejects_as_they_say(rho: float, n: int) -> None:
    rng = np.random.default_rng(n)
    true = 6 / math.pi * math.asin(rho / 2)  # Spearman's of a normal pair
    covered = rejected = 0
    for _ in range(300):
        x = rng.normal(size=n)
        found = rank_correlation(x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=n))
        covered += found.low <= true <= found.high
        rejected += found.p < 0.05
    assert covered / 300 >= 0.92
    assert rho > 0 or rejected / 300 <= 0.08


def test_the_exact_p_value_counts_every_order() -> None:
    assert rank_correlation([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]).p == pytest.approx(2 / 120)
    assert rank_correlation([1, 2, 3, 4, 5], [2, 1, 3, 4, 5]).p == pytest.approx(
        stats.permutation_test(
            ([1, 2, 3, 4, 5],), lambda x: stats.spearmanr(x, [2, 1, 3, 4, 5]).statistic, permutation_type="pairings"
        ).pvalue
    )
    ties = rank_correlation([1, 1, 2, 2, 3, 3], [1, 2, 2, 3, 3, 4])
    assert 0 < ties.p < 0.1
    x = np.arange(30.0)
    y = x + np.random.default_rng(0).normal(0, 20, 30)
    assert rank_correlation(x, y).p == pytest.approx(stats.spearmanr(x, y).pvalue)


def test_a_perfect_order_of_few_models_has_an_interval_too() -> None:
    found = rank_correlation([1, 2, 3, 4], [4, 3, 2, 1])
    assert (found.rho, found.low) == (-1, -1)
    assert found.high > 0.5, "four models say little"
    assert rank_correlation(range(60), range(60)).low > 0.99


def test_the_flatness_page_quotes_the_committed_table() -> None:
    """docs/evidence/flatness_correlations.csv is what tools/flatness_correlations.py makes of the published scores."""
    table = pd.read_csv(ROOT / "docs" / "evidence" / "flatness_correlations.csv")
    zoo = reference_scores()
    models = zoo.facts.join(zoo.means)
    page = (ROOT / "docs" / "lenses" / "flatness.md").read_text(encoding="utf-8")
    for row in table.to_dict("records"):
        found = within_robust(models, row["x"], row["y"])[row["dataset"]]
        assert (found.rho, found.low, found.high, found.n) == pytest.approx(
            (row["rho"], row["low"], row["high"], row["n"]), abs=1e-4
        )
        assert found.low < 0 < found.high
        assert f"{found.rho:.2f}".replace("-", "−") in page


@pytest.mark.parametrize(("x", "y", "n"), [([1, 2, 3], [1, 2, 3], 3), ([1, 1, 1, 1], [1, 2, 3, 4], 4), ([], [], 0)])
def test_few_or_constant_values_have_none(x: list[float], y: list[float], n: int) -> None:
    found = rank_correlation(x, y)
    assert math.isnan(found.rho)
    assert found.text == f"no ρ (n = {n})"


SCORE = Score("alpha", "spectra", "α", "A score.", "", "")


def shifted(n: int = 40) -> pd.DataFrame:
    """Models whose score goes with clean accuracy alone, and whose accuracy on A does so too; half are robust."""
    rng = np.random.default_rng(5)
    clean = rng.uniform(60, 90, n)
    return pd.DataFrame(
        {
            "dataset": "imagenet",
            "robust": [index % 2 == 0 for index in range(n)],
            "clean_acc": clean,
            "a_acc": clean - 40 + rng.normal(0, 4, n),
            "r_acc": math.nan,
            "alpha": clean + rng.normal(0, 4, n),
        }
    )


def test_scores_are_correlated_with_accuracy_under_shift_among_models_that_are_not_robust() -> None:
    models = shifted()
    table = correlate_shifts(models, [SCORE])
    assert table["test_set"].tolist() == ["clean", "A"]  # R is known of no model
    assert table["n"].tolist() == [20, 20]
    normal = models[~models["robust"]]
    _, rho = table["rho"].astype(float)
    assert rho == pytest.approx(stats.spearmanr(normal["alpha"], normal["a_acc"]).statistic)
    assert rho > 0.6
    of_clean, given_clean = table["rho_given_clean"].astype(float)
    assert math.isnan(of_clean)
    assert abs(given_clean) < 0.45


def test_clean_accuracy_alone_is_no_shift() -> None:
    assert correlate_shifts(shifted().drop(columns=["a_acc"]), [SCORE]).empty
    assert correlate_shifts(shifted(6), [SCORE]).empty  # three normal models


def test_a_partial_correlation_is_that_of_what_ranks_leave_over() -> None:
    rng = np.random.default_rng(2)
    x, y, z = rng.normal(size=(3, 30))
    x, y = x + z, y + 2 * z
    ranks = [stats.rankdata(column) for column in (x, y, z)]
    design = np.stack([np.ones(30), ranks[2]], axis=1)
    left = [column - design @ np.linalg.lstsq(design, column, rcond=None)[0] for column in ranks[:2]]
    assert partial_rho(x, y, z) == pytest.approx(np.corrcoef(*left)[0, 1])
    assert math.isnan(partial_rho(x, y, x))
    assert math.isnan(partial_rho([1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 4, 3]))


def test_the_report_of_a_catalog_with_shifts_has_their_columns_and_their_table(make_run: Callable[..., Path]) -> None:
    folder = make_run(16)
    assert "correlation_shifts" not in {table.name for table in report_tables(read_run(folder))}
    catalog = pd.read_csv(folder / "catalog.csv", keep_default_na=False)
    catalog["a_acc"] = np.linspace(5, 50, len(catalog))
    catalog.to_csv(folder / "catalog.csv", index=False)
    tables = {table.name: table for table in report_tables(read_run(folder))}
    assert "a_acc" in [column.key for column in tables["models"].columns]
    assert set(tables["correlation_shifts"].frame["test_set"]) == {"A"}
    assert "alias_energy" in set(tables["correlation_shifts"].frame["metric"])
