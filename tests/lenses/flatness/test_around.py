"""What the flatness lens measures where it is asked to: training images, the clean loss, other ξ, a plane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from extracting import chosen, context
from flatness_cases import (
    ENTRY,
    SETTINGS,
    centred_images,
    images,
    linear,
    linear_robust_loss,
    loaded,
    measured,
    network_with_batchnorm,
    score,
)
from torch.nn import functional

from filterlens.attacks import Weights
from filterlens.attacks.joint import generator_of
from filterlens.dumps import DumpWriter
from filterlens.errors import InputError
from filterlens.inputs.images import Images
from filterlens.lens import RunSettings
from filterlens.lenses.flatness.analyzer import analyze
from filterlens.lenses.flatness.extractor import extract
from filterlens.lenses.flatness.gap_scores import robust_gap
from filterlens.lenses.flatness.options import FlatnessOptions, parse_radii
from filterlens.lenses.flatness.plane import filter_normalised
from filterlens.lenses.flatness.radii import WORST_RADIUS

EPS = 8 / 255


def saved(path: Path, data: Images) -> str:
    np.savez(path, images=data.pixels, labels=data.labels)
    return str(path)


def test_the_gap_of_logistic_regression_has_its_closed_form(tmp_path: Path) -> None:
    network, test = linear(), centred_images(10)
    train = replace(test, pixels=test.pixels[::-1].copy(), labels=1 - test.labels)
    group = measured(tmp_path, loaded(network), test, SETTINGS | {"train_data": saved(tmp_path / "train.npz", train)})
    weight = network.get_parameter("1.weight").detach()
    losses = [linear_robust_loss(weight, data, EPS) for data in (test, train)]
    assert torch.allclose(torch.from_numpy(group.read("train_loss")), losses[1], atol=1e-5)
    expected = (losses[0].mean() - losses[1].mean()).item()
    assert abs(expected) > 1e-3
    assert score(group, "robust_gap") == pytest.approx(expected, abs=1e-5)
    assert score(group, "train_robust_loss") == pytest.approx(losses[1].mean().item(), abs=1e-5)
    assert "10 training images of train" in str(analyze(group)[0]["note"])


def test_the_same_images_in_another_order_have_no_gap_and_in_the_same_order_are_refused(tmp_path: Path) -> None:
    test = centred_images(10)
    turned = replace(test, pixels=test.pixels[::-1].copy(), labels=test.labels[::-1].copy())
    names = [saved(tmp_path / f"{name}.npz", data) for name, data in (("turned", turned), ("same", test))]
    group = measured(tmp_path / "a", loaded(linear()), test, SETTINGS | {"train_data": names[0]})
    assert score(group, "robust_gap") == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="the very images that are tested on"):
        measured(tmp_path / "b", loaded(linear()), test, SETTINGS | {"train_data": names[1]})


def test_without_training_images_there_is_no_gap(tmp_path: Path) -> None:
    group = measured(tmp_path, loaded(network_with_batchnorm()), images())
    assert "train_loss" not in group
    known = {row["metric"] for row in analyze(group)}
    assert not known & {"robust_gap", "average_clean_flatness", "worst_clean_flatness"}


def test_training_images_with_labels_that_the_model_does_not_know_are_refused(tmp_path: Path) -> None:
    data = images(9)
    wrong = saved(tmp_path / "train.npz", replace(data, labels=data.labels + 3))
    with pytest.raises(InputError, match=r"--train-data .* has labels up to \d, and small gives 4 logits"):
        measured(tmp_path / "a", loaded(network_with_batchnorm()), data, SETTINGS | {"train_data": wrong})
    with pytest.raises(InputError, match="neither a data set"):
        measured(tmp_path / "b", loaded(network_with_batchnorm()), data, SETTINGS | {"train_data": "nowhere"})


def test_training_images_of_another_size_are_resized(tmp_path: Path) -> None:
    train = saved(tmp_path / "train.npz", images(9, size=12))
    group = measured(tmp_path / "a", loaded(network_with_batchnorm()), images(), SETTINGS | {"train_data": train})
    assert np.isfinite(group.read("train_loss")).all()


def test_the_gaps_error_is_that_of_two_independent_means() -> None:
    generator = np.random.default_rng(0)
    gaps, errors = zip(
        *(robust_gap(generator.normal(2, 1, 50), generator.normal(1, 3, 80)) for _ in range(2000)), strict=True
    )
    assert np.mean(gaps) == pytest.approx(1, abs=0.03)
    assert np.std(gaps) == pytest.approx(np.mean(errors), rel=0.05)
    assert np.isnan(robust_gap(np.array([1.0]), np.array([1.0, 2.0]))[1])


def test_clean_flatness_of_logistic_regression_has_its_closed_form(tmp_path: Path) -> None:
    network, data = linear(), centred_images(1)
    weight = network.get_parameter("1.weight").detach().clone()
    group = measured(tmp_path, loaded(network), data, SETTINGS | {"clean_flatness": True})
    x, y = torch.from_numpy(data.pixels).flatten(1), torch.from_numpy(data.labels)

    def loss(w: torch.Tensor) -> float:
        return functional.cross_entropy(x @ w.T, y).item()

    rises = []
    for t in range(3):
        with Weights([network.get_parameter("1.weight")], radius=0.5) as weights:
            weights.random_start(generator_of(0, 1, t), on_sphere=True)
            rises.append(loss(network.get_parameter("1.weight").detach()) - loss(weight))
    assert score(group, "average_clean_flatness") == pytest.approx(np.mean(rises), abs=1e-5)
    nu = torch.zeros_like(weight)
    nu[1 - y], nu[y] = x, -x
    nu *= WORST_RADIUS * weight.norm() / nu.norm()
    expected = loss(weight + nu) - loss(weight)
    assert expected > 1e-5
    assert score(group, "worst_clean_flatness") == pytest.approx(expected, rel=2e-2)


def test_the_curve_goes_through_the_scores(tmp_path: Path) -> None:
    """At once the papers' ξ both are the same numbers, and the average case rises from 0 as ξ does."""
    group = measured(
        tmp_path, loaded(network_with_batchnorm()), images(), SETTINGS | {"radii": (1e-6, 1.0), "steps": 3}
    )
    for case in ("average", "worst_case"):
        assert (group.read(f"radii_{case}_loss")[1] == group.read(f"{case}_loss")).all()
    assert np.allclose(group.read("radii_average_loss")[0], group.read("reference_loss"), atol=1e-4)
    assert not np.allclose(group.read("average_loss"), group.read("reference_loss"), atol=1e-2)


@pytest.mark.parametrize("directions", ["layers", "filters"])
def test_the_middle_of_the_plane_is_the_reference_and_its_corners_have_their_closed_form(
    tmp_path: Path, directions: str
) -> None:
    network, data = linear(), centred_images(8)
    weight = network.get_parameter("1.weight").detach().clone()
    group = measured(tmp_path, loaded(network), data, SETTINGS | {"plane": 3, "plane_directions": directions})
    plane = group.read("plane_loss")
    assert plane.shape == (3, 3, 8)
    assert (plane[1, 1] == group.read("reference_loss")).all()
    axes = []
    for axis in range(2):
        with Weights([network.get_parameter("1.weight")], radius=0.5) as weights:
            weights.random_start(generator_of(0, 4, axis), on_sphere=True)
            direction = weights.directions(0.5)
        axes.append(filter_normalised(direction, [weight], 0.5)[0] if directions == "filters" else direction[0])
    expected = linear_robust_loss(weight + axes[0] - axes[1], data, EPS)
    assert torch.allclose(torch.from_numpy(plane[2, 0]), expected, atol=1e-5)
    norms = (axes[0].norm(dim=1), weight.norm(dim=1)) if directions == "filters" else (axes[0].norm(), weight.norm())
    assert torch.allclose(norms[0], 0.5 * norms[1], atol=1e-6)


def test_progress_reaches_its_end_with_everything_asked_for(tmp_path: Path) -> None:
    given = {"clean_flatness": True, "radii": (0.5, 2.0), "plane": 2, "curvature": 2, "steps": 2}
    options, run = chosen(FlatnessOptions, SETTINGS | given)
    reports: list[tuple[int, int]] = []
    with DumpWriter(tmp_path / "small.h5", {}) as dump:
        extract(
            context(
                loaded(network_with_batchnorm()), ENTRY, images(), options, dump.lens("flatness", {}), settings=run,
                progress=lambda done, total: reports.append((done, total)),
            )
        )  # fmt: skip
    assert isinstance(run, RunSettings)
    assert reports[-1][0] == reports[-1][1] == options.passes * 3 + 1


def test_radii_are_read_from_text() -> None:
    assert parse_radii("2,0.25,1") == (0.25, 1.0, 2.0)
    for wrong in ("", "a", "1,-1", "0", "inf", "nan", "1,,2"):
        with pytest.raises(InputError, match="radii: expected numbers above 0"):
            parse_radii(wrong)


def test_directions_that_there_are_not_and_a_plane_of_one_place_are_refused() -> None:
    with pytest.raises(InputError, match="plane: expected 0, or at least 2 places a side, got 1"):
        FlatnessOptions(plane=1)
    with pytest.raises(InputError, match="plane_directions: expected layers or filters, got 'x'"):
        FlatnessOptions(plane_directions="x")  # type: ignore[arg-type]
