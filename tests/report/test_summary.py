"""A report headlines what was tested and holds on models that were left out, and counts pairs that were compared."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report.synthetic import Model, score_rows, write_run, zoo

from filterlens.report import read_run, write_report
from filterlens.report.comparison import comparable_pairs, main_scores, pair_models
from filterlens.report.correlation import correlate
from filterlens.report.prediction import held_out_r2, predict_robustness
from filterlens.report.summary import bars, correlated, counted, headlines, predicted
from filterlens.report.tables import report_tables
from filterlens.score import Score

NAMES = ("sparsity", "variance_entropy", "orthogonality", "aliasing_relative", "alias_energy")
SCORES = [Score(name, "filters" if i < 3 else "downsampling", name, "", "", "") for i, name in enumerate(NAMES)]


def random_models(seed: int, n: int = 24, signal: float = 0.0) -> pd.DataFrame:
    """Robust models whose scores are noise, or one of which follows accuracy."""
    rng = np.random.default_rng(seed)
    accuracy = rng.uniform(30, 70, n)
    table = pd.DataFrame({name: rng.normal(size=n) for name in NAMES}, index=[f"m{i}" for i in range(n)])
    table["sparsity"] += signal * (accuracy - 50) / 12
    return table.assign(
        robust=True, dataset="cifar10", architecture=rng.choice(list("abcdef"), n), robust_acc=accuracy, match=""
    )


def said(models: pd.DataFrame) -> list[str]:
    found = correlated(correlate(models, SCORES), partial(held_out_r2, models))
    return found + predicted(predict_robustness(models, SCORES))


def test_random_weights_make_no_headline() -> None:
    told = [seed for seed in range(40) if said(random_models(seed))]
    assert len(told) <= 2, "a test at 5 %, and a positive held-out result"


def test_a_score_that_follows_accuracy_is_named_with_its_test_and_held_out_result() -> None:
    first, second = said(random_models(0, signal=2.0))
    assert "sparsity goes most closely with robust accuracy (Spearman ρ = 0." in first
    assert "95 % interval" in first
    assert "on left-out models" in first
    assert "attack-free scores explain R² = 0." in second
    assert not said(random_models(0, n=7, signal=2.0)), "of too few models"


def test_a_negative_held_out_result_is_no_headline() -> None:
    row = {"dataset": "a", "predictor": "cheap scores", "r2": -1.16, "p": 0.001, "n": 62}
    assert predicted(pd.DataFrame([row])) == []
    assert predicted(pd.DataFrame([row | {"r2": 0.4, "p": 0.01}]))
    assert predicted(pd.DataFrame([row | {"r2": 0.1, "p": 0.2}])) == []


def test_pairs_are_counted_where_both_sides_have_values(tmp_path: Path) -> None:
    models = zoo(62, shared=2)
    only_robust = [row for row in score_rows(models, 2) if "robust" in str(row["model_id"])]
    run = read_run(write_run(tmp_path / "none", models, only_robust))
    assert len(pair_models(run.models)) == 62
    assert comparable_pairs(run.models, main_scores(run)).empty
    text = counted(run.models, pair_models(run.models), (0, 0), run.ledger)
    assert "Of 62 pairs none has scores on both sides, so that nothing is compared." in text
    page = write_report(run.folder).read_text(encoding="utf-8")
    assert "Of 62 pairs none has scores on both sides" in page
    assert "62 pairs over" not in page
    some = [row for row in score_rows(models, 2) if row["model_id"] != "cifar10-normal-0"]
    run = read_run(write_run(tmp_path / "some", models, some))
    pairs = comparable_pairs(run.models, main_scores(run))
    text = counted(run.models, pair_models(run.models), (len(pairs), pairs["normal"].nunique()), run.ledger)
    assert "60 pairs over 30 distinct normal models; 2 further pairs lack scores on a side." in text


def test_what_was_not_tested_is_not_headlined(tmp_path: Path) -> None:
    few = read_run(write_run(tmp_path / "few", models := zoo(6, shared=2), score_rows(models, 2)))
    table = next(table for table in report_tables(few) if table.name == "robust_vs_normal")
    assert headlines(table.frame, main_scores(few)) == []
    assert "No comparison is tested: that takes 4 distinct normal models." in write_report(few.folder).read_text(
        "utf-8"
    )
    many = read_run(write_run(tmp_path / "many", models := zoo(12, shared=2), score_rows(models, 2)))
    table = next(table for table in report_tables(many) if table.name == "robust_vs_normal")
    assert headlines(table.frame, main_scores(many))


def test_a_left_out_result_leaves_out_architectures_where_there_are_three() -> None:
    models = random_models(0, signal=3.0)
    assert held_out_r2(models, "cifar10", "sparsity") > 0.5
    assert held_out_r2(models.assign(architecture="a"), "cifar10", "sparsity") > 0.5
    assert np.isnan(held_out_r2(models.head(3), "cifar10", "sparsity"))
    by_architecture = models.assign(sparsity=models["architecture"].map(dict(zip("abcdef", range(6), strict=True))))
    by_architecture["robust_acc"] = by_architecture["architecture"].map(
        dict(zip("abcdef", (5, 1, 4, 2, 6, 3), strict=True))
    )
    assert held_out_r2(by_architecture, "cifar10", "sparsity") < 0, "what tells architectures apart predicts no new one"


@pytest.mark.parametrize("match", ["", "n"])
def test_a_model_alone_is_no_pair(tmp_path: Path, match: str) -> None:
    models = [Model("r", robust=True, match=match), Model("n")]
    run = read_run(write_run(tmp_path, models, score_rows(models, 2)))
    assert len(comparable_pairs(run.models, main_scores(run))) == bool(match)


@pytest.mark.parametrize(
    ("values", "bounds"),
    [((-0.08, 0.99), (-1, 1)), ((0.2, 0.4), (0, 1)), ((-3.0, -1.0), (None, None)), ((0.0, 0.0), (None, None))],
)
def test_bars_start_at_zero_and_negative_ones_go_to_its_left(
    values: tuple[float, float], bounds: tuple[float | None, float | None]
) -> None:
    drawn = bars(values, bounds)
    assert len({bar.zero for bar in drawn}) == 1
    for value, bar in zip(values, drawn, strict=True):
        assert bar.start >= 0
        assert bar.start + bar.length <= 1 + 1e-12
        end = bar.start if value < 0 else bar.start + bar.length
        assert end - bar.zero == pytest.approx(bar.length if value > 0 else -bar.length)
    lengths = [bar.length for bar in drawn]
    assert lengths[0] * abs(values[1]) == pytest.approx(lengths[1] * abs(values[0]))
