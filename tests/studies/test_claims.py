from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterlens.report.statistics import spearman
from filterlens.studies.claims import claims_table, correlation, within_groups, write_claims


def models(seed: int = 0) -> pd.DataFrame:
    """Networks in which on-manifold success is test error, and regular success is noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for n_train in (100, 400):
        for recipe in ("normal", "half", "on-manifold", "transformations"):
            for s in range(3):
                error = 0.4 - 0.1 * (recipe == "on-manifold") + rng.uniform(0, 0.05) - 0.15 * (n_train == 400)
                rows.append({
                    "model_id": f"{recipe}-n{n_train}-s{s}", "recipe": recipe, "n_train": n_train, "seed": s,
                    "test_error": error, "on_manifold_success": 2 * error, "regular_success": rng.uniform(),
                    "distance_ratio_attacked": 0.99, "distance_ratio_noise": 0.995, "tangent_angle_attacked": 85.0,
                    "auc_attacked_on_manifold": 1.0, "distance_on_manifold": 0.0,
                })  # fmt: skip
    return pd.DataFrame(rows)


def one(table: pd.DataFrame, start: str) -> pd.Series:
    found = table[table["measure"].str.startswith(start)]
    assert len(found) == 1
    return found.iloc[0]


def test_a_perfect_relation_is_found_and_noise_is_not() -> None:
    table = claims_table(models())
    for name in ("Pearson, on-manifold", "Spearman, on-manifold", "Spearman within equal N, on-manifold"):
        row = one(table, name)
        assert row["value"] == pytest.approx(1)
        assert row["n"] == 24
        assert np.isnan(row["low"]) if name.startswith("Pearson") else row["low"] == pytest.approx(1)
    noise = table[table["measure"].eq("Spearman, regular success and test error")].iloc[0]
    assert noise["low"] < 0.4
    assert abs(noise["value"]) < 0.6


def test_paired_differences_are_those_of_equal_size_and_seed() -> None:
    data = models()
    row = one(claims_table(data), "test error, on-manifold")
    wide = data.pivot_table(index=["n_train", "seed"], columns="recipe", values="test_error")
    assert row["value"] == pytest.approx((wide["on-manifold"] - wide["normal"]).mean())
    assert row["low"] < row["value"] < row["high"] < 0
    assert row["n"] == 6


def test_every_claim_has_numbers() -> None:
    table = claims_table(models())
    assert table["claim"].str[0].unique().tolist() == ["1", "2", "3", "4"]
    assert table["value"].notna().all()


def test_undefined_rates_leave_their_network_out() -> None:
    data = models()
    data.loc[0, "on_manifold_success"] = np.nan
    assert one(claims_table(data), "Spearman, on-manifold")["n"] == 23


def test_a_relation_between_sizes_only_vanishes_within_them() -> None:
    x = np.repeat([0.1, 0.5], 10) + np.tile(np.linspace(0, 0.01, 10), 2)
    y = np.repeat([0.2, 0.9], 10) + np.tile(np.linspace(0.01, 0, 10), 2)
    groups = np.repeat([1, 2], 10)
    assert spearman(x, y)[0] > 0.3
    assert spearman(within_groups(x, groups), within_groups(y, groups))[0] < -0.9


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 2)), min_size=1, max_size=20))
def test_what_is_left_within_groups_has_mean_zero(pairs: list[tuple[float, int]]) -> None:
    values, groups = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    left = within_groups(values, groups)
    for group in np.unique(groups):
        assert left[groups == group].mean() == pytest.approx(0, abs=1e-9)


def test_a_correlation_lies_in_its_interval_and_repeats() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=30)
    y = x + rng.normal(size=30)
    value, low, high = correlation(x, y)
    assert low < value < high
    assert (value, low, high) == correlation(x, y)


def test_it_agrees_with_numpy_and_the_report() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 6, 20).astype(float), rng.normal(size=20)
    assert correlation(x, y, "pearson")[0] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert correlation(x, y)[0] == pytest.approx(spearman(x, y)[0])


def test_too_few_networks_have_no_correlation() -> None:
    assert all(math.isnan(v) for v in correlation(np.arange(3.0), np.arange(3.0)))


def test_seven_networks_have_a_correlation_without_interval() -> None:
    value, low, high = correlation(np.arange(7.0), np.arange(7.0) ** 2)
    assert value == pytest.approx(1)
    assert math.isnan(low)
    assert math.isnan(high)


def test_a_constant_has_no_correlation() -> None:
    value = correlation(np.ones(9), np.arange(9.0))
    assert all(math.isnan(v) for v in value)


def test_claims_are_written_for_people_and_machines(tmp_path: Path) -> None:
    table = claims_table(models())
    write_claims(table, tmp_path)
    assert len(pd.read_csv(tmp_path / "claims.csv")) == len(table)
    text = (tmp_path / "claims.md").read_text()
    assert "nan" not in text
    assert text.count("\n") == len(table) + 2
