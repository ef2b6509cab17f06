"""What predicts robustness: ridge regression on cheap, attack-free scores, judged on unseen architectures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.lens import all_lenses
from filterlens.report.comparison import robustness_column
from filterlens.score import Score

__all__ = ["cheap_scores", "predict_robustness", "ridge_predictions"]

MIN_PREDICTED_MODELS = 20
_PENALTIES = np.logspace(-3, 3, 25)
Vector = NDArray[np.float64]


def cheap_scores(scores: Sequence[Score]) -> list[Score]:
    """Scores that need no attack: those of weights and of clean feature maps."""
    free = {name for name, lens in all_lenses().items() if lens.attack_free}
    return [score for score in scores if score.lens in free]


def ridge_predictions(X: Vector, y: Vector, groups: NDArray[np.object_]) -> Vector:
    """Predict each model from models of other groups only.

    Features are standardised and the penalty is chosen by generalised cross-validation, both within the training
    part.

    Parameters
    ----------
    X
        Features, shape (n, d), finite.
    y
        Target, shape (n,).
    groups
        Group of each row, shape (n,); each is left out in turn.

    Returns
    -------
        Predictions, shape (n,).
    """
    predicted = np.empty(len(y))
    for group in pd.unique(groups):
        held = groups == group
        predicted[held] = _ridge(X[~held], y[~held], X[held])
    return predicted


def _ridge(X: Vector, y: Vector, X_new: Vector) -> Vector:
    mean, std = X.mean(axis=0), X.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    U, s, Vt = np.linalg.svd((X - mean) / std, full_matrices=False)
    centred = y - y.mean()
    projected = U.T @ centred
    shrink = s**2 / (s**2 + len(y) * _PENALTIES[:, None])  # (penalties, rank)
    residual = (centred**2).sum() - (projected**2).sum() + (((1 - shrink) * projected) ** 2).sum(axis=1)
    freedom = 1 - (1 + shrink.sum(axis=1)) / len(y)  # the mean takes one degree
    gcv = residual / np.maximum(freedom, 1e-9) ** 2
    best = int(np.argmin(gcv))
    inverse = np.divide(shrink[best], s, out=np.zeros_like(s), where=s > 1e-12)
    weights = Vt.T @ (inverse * projected)
    return np.asarray(y.mean() + (X_new - mean) / std @ weights, dtype=np.float64)


def predict_robustness(models: pd.DataFrame, scores: Sequence[Score]) -> pd.DataFrame:
    """How well cheap scores predict robust accuracy, beside two baselines, dataset by dataset.

    Parameters
    ----------
    models
        One row a model, as `RunData.models` gives it.
    scores
        Every score of the run; those without an attack are used.

    Returns
    -------
        Columns `dataset`, `predictor`, `features`, `r2` (1 - residual / total sum of squares of held-out predictions;
        negative where the mean would do better), `n`, `n_architectures`. Empty where no dataset has 20
        robust models with everything known.

    Notes
    -----
    The scores and clean accuracy are judged on architectures that were left out. An architecture's mean cannot be
    known for a left-out architecture, so that baseline leaves out one model at a time: it is given more.
    """
    columns = ["dataset", "predictor", "features", "r2", "n", "n_architectures"]
    target = robustness_column(models)
    clean = next((name for name in ("clean_acc", "clean_accuracy") if models.get(name, pd.Series()).notna().any()), "")
    names = [score.name for score in cheap_scores(scores) if score.name in models]
    rows: list[dict[str, object]] = []
    if not target or not names:
        return pd.DataFrame(rows, columns=columns)
    robust = models[models["robust"].eq(True)]  # noqa: FBT003 - a value
    for dataset, part in robust.groupby("dataset", sort=False):
        usable = [name for name in names if part[name].notna().mean() >= 0.9]
        known = part.dropna(subset=[target, *usable, *([clean] if clean else [])])
        architectures = known["architecture"].astype(object).to_numpy()
        if len(known) < MIN_PREDICTED_MODELS or not usable or len(pd.unique(architectures)) < 3:
            continue
        y = known[target].to_numpy(dtype=np.float64)
        predictions = {
            "cheap scores": (", ".join(usable), ridge_predictions(_matrix(known, usable), y, architectures)),
            "architecture": ("mean of the other models", _other_mean(y, architectures)),
        }
        if clean:
            predictions["clean accuracy"] = (clean, ridge_predictions(_matrix(known, [clean]), y, architectures))
        for predictor, (features, predicted) in predictions.items():
            facts = {"dataset": str(dataset), "predictor": predictor, "features": features}
            sizes = {"n": len(y), "n_architectures": len(pd.unique(architectures))}
            rows.append({**facts, "r2": _r2(y, predicted), **sizes})
    return pd.DataFrame(rows, columns=columns)


def _matrix(models: pd.DataFrame, names: list[str]) -> Vector:
    return models[names].to_numpy(dtype=np.float64)


def _other_mean(y: Vector, groups: NDArray[np.object_]) -> Vector:
    """Mean of the other models of the same group, or of all others where there is none."""
    predicted = np.empty(len(y))
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        same = others & (groups == groups[i])
        predicted[i] = y[same if same.any() else others].mean()
    return predicted


def _r2(y: Vector, predicted: Vector) -> float:
    total = ((y - y.mean()) ** 2).sum()
    return float(1 - ((y - predicted) ** 2).sum() / total) if total > 0 else float("nan")
