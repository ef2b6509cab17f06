from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import DumpError
from filterlens.lens import all_scores
from filterlens.lenses.manifold.analyzer import analyze
from filterlens.lenses.manifold.scores import distance_ratio, separation_auc, success_rate

Array = NDArray[Any]
Row = dict[str, Any]

values = st.lists(st.integers(-5, 5), min_size=1, max_size=20)


@settings(deadline=None)
@given(values, values)
def test_auc_is_the_share_of_ordered_pairs(positive: list[float], negative: list[float]) -> None:
    slow = np.mean([(a > b) + (a == b) / 2 for a in positive for b in negative])
    assert separation_auc(np.array(positive, float), np.array(negative, float)) == pytest.approx(slow)


@settings(deadline=None)
@given(values, values)
def test_auc_of_swapped_groups_adds_to_one(a: list[float], b: list[float]) -> None:
    first, second = np.array(a, float), np.array(b, float)
    assert separation_auc(first, second) + separation_auc(second, first) == pytest.approx(1)


SCORES = [score for score in all_scores().values() if score.lens == "manifold"]


def test_auc_of_an_empty_group_is_not_defined() -> None:
    assert math.isnan(separation_auc(np.array([]), np.ones(3)))
    assert math.isnan(separation_auc(np.ones(3), np.array([])))


def test_success_counts_correct_images_only() -> None:
    success = np.array([1, 1, 0, 0, 1], bool)
    correct = np.array([1, 0, 1, 1, 1], bool)
    rate, low, high = success_rate(success, correct)
    assert rate == 0.5
    assert 0 < low < 0.5 < high < 1


def test_success_without_correct_images_is_not_defined() -> None:
    assert all(math.isnan(value) for value in success_rate(np.ones(3, bool), np.zeros(3, bool)))


@settings(deadline=None)
@given(st.floats(0.1, 10), st.floats(0, 1))
def test_distance_ratio_does_not_change_with_scale(scale: float, share: float) -> None:
    norm = np.array([2.0])
    assert distance_ratio(scale * share * norm, scale * norm) == pytest.approx(share)


def write(path: Path, *, on_manifold: bool, **changed: Array) -> Path:
    rng = np.random.default_rng(0)
    n = 6
    arrays = {
        "labels": np.arange(n),
        "correct": np.array([1, 1, 1, 1, 0, 1], bool),
        "success_attacked": np.array([1, 1, 1, 0, 1, 0], bool),
        "distance_clean": np.zeros(n, np.float32),
        "distance_held_out": np.full(n, 0.5, np.float32),
        "distance_attacked": np.array([1, 2, 3, 100, 100, 100], np.float32),
        "distance_attacked_held_out": np.array([0.5, 0.4, 0.6, 9, 9, 9], np.float32),
        "norm_linf_attacked": np.full(n, 0.3, np.float32),
        "norm_l2_attacked": np.array([2, 2, 3, 1, 1, 1], np.float32),
        "angle_attacked": np.array([80, 90, 85, 0, 0, 0], np.float32),
        "distance_noise": rng.random(n).astype(np.float32),
        "norm_l2_noise": np.ones(n, np.float32),
        "norm_linf_noise": np.ones(n, np.float32),
        "angle_noise": np.full(n, 88, np.float32),
    }
    if on_manifold:
        arrays |= {
            "correct_decoded": np.array([1, 1, 1, 1, 1, 0], bool),
            "success_on_manifold": np.array([1, 0, 0, 0, 1, 1], bool),
            "label_kept_on_manifold": np.array([1, 1, 1, 1, 0, 1], bool),
            "distance_on_manifold": np.array([0, 9, 9, 9, 1.5, 9], np.float32),
            "norm_linf_on_manifold": np.ones(n, np.float32),
            "norm_l2_on_manifold": np.full(n, 3, np.float32),
            "angle_on_manifold": np.array([10, 9, 9, 9, 20, 9], np.float32),
        }
    with DumpWriter(path, {"model_id": "m"}) as dump:
        group = dump.lens("manifold", {})
        for name, array in (arrays | changed).items():
            group.write(name, array)
        group.set_attributes(manifold="fonts", fast=True)
    return path


def read(path: Path) -> dict[str, Row]:
    with DumpReader(path) as reader:
        rows = analyze(reader.lens("manifold"))
    return {str(row["metric"]): row for row in rows}


def test_statistics_are_those_of_successful_examples(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "d.h5", on_manifold=True))
    value = {name: row["value"] for name, row in rows.items()}
    assert value["regular_success"] == 3 / 5
    assert value["on_manifold_success"] == 2 / 5
    assert value["clean_error"] == pytest.approx(1 / 6)
    assert value["distance_attacked"] == 2
    assert value["distance_attacked_mean"] == 2
    assert value["distance_ratio_attacked"] == 1
    assert value["tangent_angle_attacked"] == 85
    assert value["distance_on_manifold"] == 0.75
    assert value["distance_ratio_on_manifold"] == 0.25
    assert value["on_manifold_label_kept"] == 0.5
    assert value["auc_attacked_on_manifold"] == pytest.approx(5 / 6)
    assert value["auc_attacked_held_out"] == pytest.approx(0.5)
    assert value["norm_linf_attacked"] == pytest.approx(0.3)
    assert "3 attacked examples, 2 on-manifold examples, fast settings" in str(rows["clean_error"]["note"])


def test_every_row_has_a_descriptor_and_every_descriptor_a_row(tmp_path: Path) -> None:
    assert set(read(write(tmp_path / "d.h5", on_manifold=True))) == {score.name for score in SCORES}


def test_without_a_decoder_nothing_is_said_of_on_manifold_examples(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "d.h5", on_manifold=False))
    assert not [name for name in rows if "on_manifold" in name]
    assert rows["distance_attacked"]["value"] == 2


def test_without_successes_distances_are_not_defined(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "d.h5", on_manifold=False, success_attacked=np.zeros(6, bool)))
    assert rows["regular_success"]["value"] == 0
    assert math.isnan(rows["distance_ratio_attacked"]["value"])
    assert math.isnan(rows["auc_attacked_held_out"]["value"])


def test_a_damaged_array_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "d.h5", on_manifold=False, correct=np.ones(4, bool))
    with pytest.raises(DumpError, match=r"manifold/correct has shape \(4,\), expected \(6,\)"):
        read(path)


def test_descriptors_bound_every_value(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "d.h5", on_manifold=True))
    for score in SCORES:
        low, high = score.bounds
        value = rows[score.name]["value"]
        assert low is None or value >= low
        assert high is None or value <= high
