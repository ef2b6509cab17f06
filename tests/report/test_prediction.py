"""Prediction of robustness: an oracle for the ridge, and known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from filterlens.lens import get_score
from filterlens.report.prediction import predict_robustness, ridge_predictions

SCORES = [get_score("sparsity"), get_score("orthogonality")]


def zoo(n: int, *, noise: float, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, 2))
    df = pd.DataFrame(x, columns=["sparsity", "orthogonality"])
    accuracy = 50 + 10 * x[:, 0] - 5 * x[:, 1] + noise * rng.normal(size=n)
    architecture = [f"A{i % 5}" for i in range(n)]
    clean = rng.uniform(80, 90, size=n)
    return df.assign(robust=True, dataset="cifar10", architecture=architecture, robust_acc=accuracy, clean_acc=clean)


def test_a_linear_target_is_foretold_and_chance_baselines_are_not() -> None:
    table = predict_robustness(zoo(40, noise=0.1), SCORES).set_index("predictor")
    assert table["r2"]["cheap scores"] > 0.98
    assert table["r2"]["clean accuracy"] < 0.2
    assert table["r2"]["architecture"] < 0.2
    assert (table["n"] == 40).all()


def test_noise_is_not_foretold() -> None:
    table = predict_robustness(zoo(40, noise=500), SCORES).set_index("predictor")
    assert table["r2"]["cheap scores"] < 0.1


def test_fewer_than_twenty_models_are_not_predicted() -> None:
    assert predict_robustness(zoo(19, noise=0.1), SCORES).empty
    assert len(predict_robustness(zoo(20, noise=0.1), SCORES)) == 3


def test_a_held_out_group_does_not_see_its_own_targets() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, 3)), rng.normal(size=24)
    groups = np.array([f"g{i % 4}" for i in range(24)], dtype=object)
    before = ridge_predictions(X, y, groups)
    y[groups == "g1"] += 100
    after = ridge_predictions(X, y, groups)
    np.testing.assert_array_equal(before[groups == "g1"], after[groups == "g1"])
    assert not np.allclose(before[groups == "g2"], after[groups == "g2"])


def test_the_ridge_solves_its_normal_equations_for_one_of_its_penalties() -> None:
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(30, 4)) * [1, 10, 0.1, 1], rng.normal(size=30)
    groups = np.array(["train"] * 25 + ["test"] * 5, dtype=object)
    predicted = ridge_predictions(X, y, groups)[25:]
    mean, std = X[:25].mean(0), X[:25].std(0)
    Z, Z_new, centred = (X[:25] - mean) / std, (X[25:] - mean) / std, y[:25] - y[:25].mean()
    candidates = [
        y[:25].mean() + Z_new @ np.linalg.solve(Z.T @ Z + 25 * penalty * np.eye(4), Z.T @ centred)
        for penalty in np.logspace(-3, 3, 25)
    ]
    assert min(np.abs(predicted - candidate).max() for candidate in candidates) == pytest.approx(0, abs=1e-10)
