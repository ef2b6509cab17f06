"""Accuracy, loss, confidence and calibration: closed forms and slow oracles."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import DumpError
from filterlens.lens import get_score
from filterlens.lenses.proportion import proportion_interval
from filterlens.lenses.robustness.analyzer import analyze
from filterlens.lenses.robustness.metrics import (
    accuracy,
    confidence,
    cross_entropy,
    expected_calibration_error,
    overconfidence,
    reliability,
)


def some_logits(n: int = 200, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(0, 2, (n, classes)).astype(np.float32), generator.integers(0, classes, n)


def test_losses_agree_with_torch_and_do_not_overflow() -> None:
    logits, labels = some_logits()
    logits[0] = [1e4, -1e4, 0, 0, 0]
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).double(), torch.from_numpy(labels), reduction="none"
    )
    assert np.allclose(cross_entropy(logits, labels), expected.numpy(), atol=1e-9)
    assert np.allclose(confidence(logits), torch.from_numpy(logits).double().softmax(1).amax(1).numpy(), atol=1e-12)


def slow_ece(logits: np.ndarray, labels: np.ndarray) -> float:
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    total = 0.0
    for b in range(15):
        members = [i for i, p in enumerate(probabilities) if b / 15 < p.max() <= (b + 1) / 15]
        if members:
            right = np.mean([probabilities[i].argmax() == labels[i] for i in members])
            sure = np.mean([probabilities[i].max() for i in members])
            total += len(members) / len(labels) * abs(right - sure)
    return total


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), classes=st.integers(2, 6))
def test_calibration_agrees_with_a_slow_loop_and_bounds_overconfidence(seed: int, n: int, classes: int) -> None:
    logits, labels = some_logits(n, classes, seed)
    ece = expected_calibration_error(logits, labels)
    assert ece == pytest.approx(slow_ece(logits, labels), abs=1e-9)
    assert abs(overconfidence(logits, labels)) <= ece + 1e-9
    assert reliability(logits, labels)[:, 0].sum() == n


def test_a_calibrated_model_has_hardly_any_error_and_a_sharpened_one_has() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (100_000, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < generator.random((len(p), 1))).sum(axis=1)
    assert expected_calibration_error(logits, labels) < 0.01
    assert abs(overconfidence(logits, labels)) < 0.01
    assert overconfidence(logits * 5, labels) > 0.2
    assert expected_calibration_error(logits * 5, labels) > 0.2


def test_certain_and_right_is_perfect() -> None:
    logits = np.eye(3) * 1000
    labels = np.arange(3)
    assert accuracy(logits, labels) == 1
    assert expected_calibration_error(logits, labels) == 0
    assert overconfidence(logits, labels) == 0
    assert expected_calibration_error(logits, (labels + 1) % 3) == 1


def test_logits_that_are_not_finite_count_as_wrong() -> None:
    assert accuracy(np.array([[np.nan, 0.0], [1.0, 0.0]]), np.array([0, 0])) == 0.5


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 2000), data=st.data())
def test_the_interval_of_a_proportion_is_wilsons(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert proportion_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_without_examples_nothing_is_defined() -> None:
    nothing = np.zeros((0, 3)), np.zeros(0, dtype=int)
    values = [accuracy(*nothing), overconfidence(*nothing), expected_calibration_error(*nothing)]
    assert all(math.isnan(value) for value in (*values, *proportion_interval(0, 0)))


def write(path: Path, **arrays: np.ndarray) -> DumpReader:
    with DumpWriter(path, {"model_id": "a"}) as dump:
        group = dump.lens("robustness", {})
        for name, array in arrays.items():
            group.write(name, array)
        group.set_attributes(attack="PGD-20", eps=8 / 255, norm="Linf", restarts=1, images=200, fast=True, bf16=False)
    return DumpReader(path)


def test_analysis_gives_registered_scores_of_clean_and_attacked_images(tmp_path: Path) -> None:
    logits, labels = some_logits()
    attacked = logits - 3 * np.eye(5, dtype=np.float32)[labels]
    strong = logits - 6 * np.eye(5, dtype=np.float32)[labels]
    arrays = {"logits_clean": logits, "logits_attacked": attacked, "logits_autoattack": strong}
    with write(tmp_path / "a.h5", labels=labels, logits_attacked_float32=attacked, **arrays) as reader:
        rows = analyze(reader.lens("robustness"))
    found: dict[str, Any] = {str(row["metric"]): row["value"] for row in rows}
    assert all(get_score(metric).lens == "robustness" for metric in found)
    assert len(found) == len(rows) == 18
    assert found["clean_accuracy"] > found["robust_accuracy"] > found["robust_accuracy_autoattack"]
    assert found["robust_accuracy_low"] < found["robust_accuracy"] < found["robust_accuracy_high"]
    assert found["robust_loss"] == found["robust_loss_float32"] == pytest.approx(cross_entropy(attacked, labels).mean())
    assert found["robust_loss"] > found["clean_loss"]
    assert rows[0]["note"] == "PGD-20, Linf ε = 0.031373, 1 restarts, 200 images, fast"


def test_a_dump_whose_arrays_do_not_belong_together_is_refused(tmp_path: Path) -> None:
    logits, labels = some_logits()
    with (
        write(tmp_path / "a.h5", labels=labels, logits_clean=logits[:-1], logits_attacked=logits) as reader,
        pytest.raises(DumpError, match=r"logits_clean of shape .199, 5. does not belong to 200 labels"),
    ):
        analyze(reader.lens("robustness"))
    with (
        write(tmp_path / "b.h5", labels=labels + 3, logits_clean=logits, logits_attacked=logits) as reader,
        pytest.raises(DumpError, match="labels lie outside the 5 classes of logits_clean"),
    ):
        analyze(reader.lens("robustness"))
