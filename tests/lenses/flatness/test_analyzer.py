"""Flatness from losses: closed forms and what a table row holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import DumpError
from filterlens.lens import get_score
from filterlens.lenses.flatness.analyzer import analyze
from filterlens.lenses.flatness.scores import average_flatness, class_flatness, worst_flatness

GENERATOR = np.random.default_rng(0)
REFERENCE = GENERATOR.uniform(1, 2, 30).astype(np.float32)
LABELS = np.arange(30) % 3


def test_average_case_is_the_mean_rise_with_its_standard_error() -> None:
    rises = np.array([0.5, 1.0, 3.0])
    mean, error = average_flatness(REFERENCE, REFERENCE + rises[:, None])
    assert mean == pytest.approx(1.5, abs=1e-6)
    assert error == pytest.approx(rises.std(ddof=1) / math.sqrt(3), abs=1e-6)
    assert math.isnan(average_flatness(REFERENCE, REFERENCE[None])[1])


def test_worst_case_is_the_largest_rise_and_never_below_the_weights_themselves() -> None:
    assert worst_flatness(REFERENCE, REFERENCE + np.array([[0.5], [0.2]])) == pytest.approx((0.5, 0.3), abs=1e-6)
    assert worst_flatness(REFERENCE, REFERENCE - np.array([[0.5], [0.2]])) == pytest.approx((0.0, 0.3), abs=1e-6)


def test_classes_average_to_the_whole_where_they_are_equally_many() -> None:
    perturbed = REFERENCE + GENERATOR.normal(0, 1, (4, 30))
    by_class = class_flatness(REFERENCE, perturbed, LABELS)
    assert list(by_class) == [0, 1, 2]
    assert np.mean(list(by_class.values())) == pytest.approx(average_flatness(REFERENCE, perturbed)[0])
    assert by_class[1] == pytest.approx((perturbed.mean(axis=0) - REFERENCE)[LABELS == 1].mean())


def write(path: Path, **changes: np.ndarray) -> DumpReader:
    arrays = {
        "labels": LABELS,
        "reference_loss": REFERENCE,
        "average_loss": REFERENCE + np.array([[1.0], [2.0]]),
        "worst_case_loss": REFERENCE + np.array([[0.1], [0.3]]),
        "average_correct": np.ones((2, 30), dtype=np.uint8),
    } | changes
    with DumpWriter(path, {"model_id": "a"}) as dump:
        group = dump.lens("flatness", {})
        for name, array in arrays.items():
            group.write(name, array)
        group.set_attributes(norm="Linf", eps=8 / 255, steps=10, average=2, worst=2, images=30, fast=True)
    return DumpReader(path)


def test_analysis_gives_registered_scores_and_classes_that_weigh_nothing(tmp_path: Path) -> None:
    with write(tmp_path / "a.h5", reference_loss_float32=REFERENCE) as reader:
        rows = analyze(reader.lens("flatness"))
    assert all(get_score(str(row["metric"])).lens == "flatness" for row in rows)
    found: dict[str, Any] = {str(row["metric"]): row["value"] for row in rows if "layer" not in row}
    assert found["average_flatness"] == pytest.approx(1.5, abs=1e-6)
    assert found["worst_flatness"] == pytest.approx(0.3, abs=1e-6)
    assert found["average_robust_accuracy"] == 1
    assert found["flatness_reference_loss_float32"] == found["flatness_reference_loss"]
    assert rows[0]["note"] == "Linf ε = 0.031373, PGD-10, T = 2, R = 2, 30 images, fast"
    classes = [row for row in rows if row.get("kind") == "class"]
    assert [row["layer"] for row in classes] == ["class 0", "class 1", "class 2"]
    assert all(row["weight"] == 0 for row in classes)


def test_a_dump_whose_worst_case_was_measured_otherwise_than_its_reference_has_no_worst_case(tmp_path: Path) -> None:
    """Before 0.2 it was called `worst_loss`, and lay too low: the other scores of such a dump remain."""
    path = tmp_path / "a.h5"
    with DumpWriter(path, {"model_id": "a"}) as dump:
        group = dump.lens("flatness", {})
        for name in ("average_loss", "worst_loss"):
            group.write(name, REFERENCE + np.array([[1.0], [2.0]], dtype=np.float32))
        group.write("labels", LABELS)
        group.write("reference_loss", REFERENCE)
        group.write("average_correct", np.ones((2, 30), dtype=np.uint8))
    with DumpReader(path) as reader:
        found: dict[str, Any] = {
            str(row["metric"]): row["value"] for row in analyze(reader.lens("flatness")) if "layer" not in row
        }
    assert found["average_flatness"] == pytest.approx(1.5, abs=1e-6)
    assert not [name for name in found if name.startswith("worst")]


def test_losses_that_are_not_finite_have_no_score(tmp_path: Path) -> None:
    broken = np.full((2, 30), np.inf, dtype=np.float32)
    with write(tmp_path / "a.h5", average_loss=broken) as reader:
        rows = analyze(reader.lens("flatness"))
    values: dict[str, Any] = {str(row["metric"]): row["value"] for row in rows if "layer" not in row}
    assert math.isnan(values["average_flatness"])
    assert values["worst_flatness"] == pytest.approx(0.3, abs=1e-6)


def test_losses_of_other_images_are_refused(tmp_path: Path) -> None:
    with (
        write(tmp_path / "a.h5", worst_case_loss=np.ones((2, 29), dtype=np.float32)) as reader,
        pytest.raises(DumpError, match=r"worst_case_loss of shape .2, 29. does not belong to 30 labels"),
    ):
        analyze(reader.lens("flatness"))
