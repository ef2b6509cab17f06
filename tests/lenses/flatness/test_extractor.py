"""The flatness extractor: closed forms, invariance, and weights that come back."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    runner_of,
    score,
)
from torch import Tensor, nn
from torch.nn import functional

from filterlens.attacks import Ball, Weights, attack
from filterlens.attacks.evaluation import Threat, threat_of
from filterlens.attacks.joint import generator_of, joint_attack
from filterlens.attacks.parameters import is_normalisation, perturbed_parameters
from filterlens.dumps import DumpWriter
from filterlens.errors import InputError, LensSkipped
from filterlens.inputs.images import Images
from filterlens.lenses.flatness.analyzer import analyze
from filterlens.lenses.flatness.extractor import extract
from filterlens.lenses.flatness.options import FlatnessOptions
from filterlens.lenses.flatness.radii import WORST_RADIUS
from filterlens.loaders.model import Classifier, LoadedModel


def test_average_case_of_logistic_regression_has_its_closed_form(tmp_path: Path) -> None:
    network, data = linear(), centred_images(10)
    weight = network.get_parameter("1.weight").detach().clone()
    group = measured(tmp_path, loaded(network), data)
    expected = []
    for t in range(3):
        with Weights([network.get_parameter("1.weight")], radius=0.5) as weights:
            weights.random_start(generator_of(0, 1, t), on_sphere=True)
            expected.append(linear_robust_loss(network.get_parameter("1.weight").detach(), data, 8 / 255))
    assert torch.allclose(torch.from_numpy(group.read("average_loss")), torch.stack(expected), atol=1e-5)
    reference = linear_robust_loss(weight, data, 8 / 255)
    assert torch.allclose(torch.from_numpy(group.read("reference_loss")), reference, atol=1e-5)
    rise = (torch.stack(expected).mean() - reference.mean()).item()
    assert score(group, "average_flatness") == pytest.approx(rise, abs=1e-5)


def test_worst_case_of_logistic_regression_on_one_image_has_its_closed_form(tmp_path: Path) -> None:
    network, data = linear(), centred_images(1)
    weight, eps = network.get_parameter("1.weight").detach().clone(), 8 / 255
    group = measured(tmp_path, loaded(network), data)
    x, y = torch.from_numpy(data.pixels).flatten(), int(data.labels[0])
    worst_x = x + eps * (weight[1 - y] - weight[y]).sign()
    nu = torch.zeros_like(weight)
    nu[1 - y], nu[y] = worst_x, -worst_x
    nu *= WORST_RADIUS * weight.norm() / nu.norm()
    expected = linear_robust_loss(weight + nu, data, eps) - linear_robust_loss(weight, data, eps)
    assert expected.item() > 1e-4
    assert score(group, "worst_flatness") == pytest.approx(expected.item(), rel=1e-2)


def test_average_case_of_a_quadratic_is_the_mean_curvature_and_worst_case_the_largest() -> None:
    curvature = torch.tensor([1.0, 2.0, 9.0])
    w = nn.Parameter(torch.tensor([2.0, -1.0, 2.0]))  # norm 3
    top = w.detach().clone()

    def rise() -> torch.Tensor:
        return 0.5 * (curvature * (w - top).square()).sum()

    with Weights([w], radius=0.5, step=0.1) as weights:
        generator = torch.Generator().manual_seed(0)
        rises = []
        for _ in range(4000):
            weights.random_start(generator, on_sphere=True)
            rises.append(rise().item())
        assert min(rises) >= 0
        assert np.mean(rises) == pytest.approx(0.5 * 1.5**2 * 12 / 3, rel=0.03)
        weights.track()
        for _ in range(100):
            rise().backward()
            weights.move()
        assert rise().item() == pytest.approx(0.5 * 1.5**2 * 9, rel=1e-3)


def test_flatness_is_the_same_when_a_layer_before_batchnorm_is_rescaled(tmp_path: Path) -> None:
    plain = network_with_batchnorm()
    scaled = copy.deepcopy(plain)
    with torch.no_grad():
        scaled.get_parameter("0.weight").mul_(2)
        scaled.get_parameter("0.bias").mul_(2)
        scaled.get_buffer("1.running_mean").mul_(2)
        scaled.get_buffer("1.running_var").mul_(4)
    groups = [measured(tmp_path / str(i), loaded(n), images()) for i, n in enumerate((plain, scaled))]
    for metric in ("average_flatness", "worst_flatness", "flatness_reference_loss"):
        first, second = (score(group, metric) for group in groups)
        assert first == pytest.approx(second, abs=1e-4)
    for name in ("landscape_random", "landscape_adversarial"):
        assert np.allclose(groups[0].read(name), groups[1].read(name), atol=1e-4)
    assert abs(score(groups[0], "average_flatness")) > 1e-3


def test_worst_case_lies_above_the_reference_without_any_floor(tmp_path: Path) -> None:
    group = measured(tmp_path, loaded(network_with_batchnorm()), images())
    assert (group.read("worst_case_loss").mean(axis=1) > group.read("reference_loss").mean()).all()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"worst": 1},
        {"worst": 4, "average": 4},
        {"batch_size": 20},
        {"steps": 1},
        {"steps": 3, "batch_size": 3},
        {"clean_flatness": True, "radii": (0.5, 2.0)},
    ],
    ids=lambda settings: ", ".join(f"{name} {value}" for name, value in settings.items()) or "fast",
)
def test_weights_that_do_not_move_are_flat_to_the_last_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """At ξ = 0 reference and perturbed loss are one number: whatever iterate a side keeps, the other keeps it too."""
    for name in ("WORST_RADIUS", "AVERAGE_RADIUS"):
        monkeypatch.setattr(f"filterlens.lenses.flatness.extractor.{name}", 0.0)
    group = measured(tmp_path, loaded(network_with_batchnorm()), images(), SETTINGS | settings)
    reference = group.read("reference_loss")
    for name in ("worst_case_loss", "average_loss"):
        assert (group.read(name) == reference).all(), name  # every restart, not only the one that the score keeps
    for name in ("radii_worst_case_loss", "radii_average_loss"):
        assert name not in group or (group.read(name) == reference).all()
    for name in ("worst_case_clean_loss", "average_clean_loss"):
        assert name not in group or (group.read(name) == group.read("clean_loss")).all()
    assert (group.read("worst_case_correct") == group.read("reference_correct")).all()
    for metric in ("worst_flatness", "worst_flatness_spread", "average_flatness", "average_flatness_images_error"):
        assert score(group, metric) == 0, metric


def test_everything_is_as_before_and_no_normalisation_layer_was_touched(tmp_path: Path) -> None:
    network = network_with_batchnorm()
    model, before, seen = loaded(network), copy.deepcopy(network.state_dict()), []
    handle = network[1].register_forward_pre_hook(
        lambda part, _: seen.append((part.weight.clone(), part.bias.clone(), network.get_parameter("0.weight").clone()))
    )
    network.get_parameter("0.weight").grad = torch.ones_like(network.get_parameter("0.weight"))
    network[5].bias.requires_grad_(False)
    network.train()
    measured(tmp_path, model, images())
    handle.remove()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    gradient = network.get_parameter("0.weight").grad
    assert gradient is not None
    assert torch.equal(gradient, torch.ones_like(network.get_parameter("0.weight")))
    assert not network[5].bias.requires_grad
    assert network[0].weight.requires_grad
    assert network[1].training
    assert all(torch.equal(before["1.weight"], w) and torch.equal(before["1.bias"], b) for w, b, _ in seen)
    assert len({tuple(w.flatten().tolist()) for _, _, w in seen}) > 10


@pytest.mark.parametrize("fails_after", [30, 130, 200])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_weights_come_back_when_an_extraction_breaks_off(
    tmp_path: Path, fails_after: int, error: type[BaseException]
) -> None:
    network, calls = network_with_batchnorm(), 0
    before = copy.deepcopy(network.state_dict())

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > fails_after:
            raise error("stop")

    handle = network[0].register_forward_pre_hook(count)
    with pytest.raises(error, match="stop"):
        measured(tmp_path, loaded(network), images())
    handle.remove()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_batches_of_any_size_give_the_same_losses(tmp_path: Path) -> None:
    groups = [
        measured(tmp_path / str(size), loaded(network_with_batchnorm()), images(), SETTINGS | {"batch_size": size})
        for size in (20, 7)
    ]
    for name in ("reference_loss", "average_loss", "worst_case_loss", "landscape_adversarial"):
        assert np.allclose(groups[0].read(name), groups[1].read(name), atol=1e-4), name


def test_progress_counts_every_forward_pass_to_its_end(tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    with DumpWriter(tmp_path / "small.h5", {}) as dump:
        options, run = chosen(FlatnessOptions, SETTINGS)
        extract(
            context(
                loaded(network_with_batchnorm()), ENTRY, images(), options, dump.lens("flatness", {}), settings=run,
                progress=lambda done, total: reports.append((done, total)),
            )
        )  # fmt: skip
    assert reports[-1][0] == reports[-1][1] == FlatnessOptions.fast().passes * 3 + 1
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_the_paper_and_its_fast_and_published_versions_are_named_in_the_dump(tmp_path: Path) -> None:
    paper = FlatnessOptions.paper()
    assert (paper.images, paper.steps, paper.average, paper.worst, paper.reference_restarts) == (1000, 20, 10, 10, 1)
    group = measured(tmp_path, loaded(network_with_batchnorm()), images(), SETTINGS | {"as_published": True})
    attributes = group.attributes
    assert attributes["fast"]
    assert attributes["as_published"]
    assert attributes["reference_restarts"] == 10
    assert attributes["average_radius"] == 0.5
    assert attributes["worst_radius"] == 0.00075
    assert attributes["images"] == 20
    assert "fast, as published" in str(next(iter(analyze(group)))["note"])


def test_published_restarts_put_the_reference_higher(tmp_path: Path) -> None:
    ours, theirs = (
        measured(tmp_path / str(flag), loaded(network_with_batchnorm()), images(), SETTINGS | {"as_published": flag})
        for flag in (False, True)
    )
    assert (theirs.read("reference_loss") >= ours.read("reference_loss") - 1e-6).all()
    zero = list(ours.read("landscape_positions")).index(0)
    assert np.array_equal(ours.read("landscape_random")[zero], ours.read("reference_loss"))


def test_bfloat16_is_measured_beside_float32(tmp_path: Path) -> None:
    group = measured(tmp_path, loaded(network_with_batchnorm()), images(), SETTINGS | {"bf16": True})
    plain = measured(tmp_path / "plain", loaded(network_with_batchnorm()), images())
    exact = score(group, "flatness_reference_loss_float32")
    assert exact == pytest.approx(score(plain, "flatness_reference_loss"), abs=1e-5)
    assert score(group, "flatness_reference_loss") != exact
    assert score(group, "flatness_reference_loss") == pytest.approx(exact, abs=0.05)


def test_joint_attack_stays_in_its_balls() -> None:
    data, network = images(7), network_with_batchnorm()
    runner, threat = runner_of(network, data), Threat(Ball("Linf", 0.1), 0.05)
    parameters = list(perturbed_parameters(network).values())
    origins = [p.detach().clone() for p in parameters]
    seen = []
    network[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    with Weights(parameters, radius=0.01, step=0.02) as weights:
        joint_attack(runner, weights, threat, steps=5, seed=0, restart=1)
        for p, w in zip(parameters, origins, strict=True):
            assert 0 < (p.detach() - w).norm() / w.norm() <= 0.01 + 1e-5
    assert len(seen) == 6 * 3
    every = torch.cat(seen[-3:])
    assert (every - torch.from_numpy(data.pixels)).abs().max() <= 0.1 + 1e-6


class FancyNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 1, 1))


def test_normalisation_is_told_by_type_and_not_by_name() -> None:
    network = nn.Sequential()
    network.add_module("bn", nn.Linear(2, 2))
    network.add_module("plain", nn.BatchNorm1d(2))
    network.add_module("fancy", FancyNorm())
    network.add_module("group", nn.GroupNorm(1, 2))
    assert list(perturbed_parameters(network)) == ["bn.weight", "bn.bias"]
    assert list(perturbed_parameters(network, by_name=True)) == [
        "plain.weight", "plain.bias", "fancy.gain", "group.weight", "group.bias",
    ]  # fmt: skip
    assert is_normalisation(FancyNorm())
    assert not is_normalisation(nn.Conv2d(1, 1, 1))


def test_a_shared_tensor_is_perturbed_once() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    assert list(perturbed_parameters(network)) == ["0.weight", "0.bias", "1.bias"]


def test_what_does_not_fit_is_refused_with_a_reason(tmp_path: Path) -> None:
    model = loaded(network_with_batchnorm(), input_size=(3, 6, 6))
    weights_only = LoadedModel("small", "small.pt", "", {})
    with pytest.raises(LensSkipped, match="flatness lens needs a model that runs"):
        measured(tmp_path, weights_only, images())
    with pytest.raises(InputError, match="needs labelled images for small"):
        measured(tmp_path, model, None)
    with pytest.raises(InputError, match="images of random are 3x9x9 but the model takes 3x6x6"):
        measured(tmp_path, model, images(size=9))
    with pytest.raises(InputError, match=r"logits of shape \(2, 4\), .* labels up to 9"):
        measured(tmp_path, model, images(40, classes=10))
    grey = images()
    grey = Images("grey", grey.pixels[:, :1].copy(), grey.labels)
    with pytest.raises(InputError, match="small cannot take grey's images of 1 x 6 x 6"):
        measured(tmp_path, loaded(network_with_batchnorm()), grey)
    broken = network_with_batchnorm()
    with torch.no_grad():
        broken.get_parameter("0.weight")[0] = torch.nan
    with pytest.raises(InputError, match="logits that are not finite"):
        measured(tmp_path, loaded(broken), images())
    only_norm = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3))
    with pytest.raises(LensSkipped, match="no parameters outside normalisation layers"):
        measured(tmp_path, loaded(only_norm), images(classes=3))


@pytest.fixture
def _new_objects_only() -> Iterator[None]:
    """`gc.get_objects` lists what is made from here on, not the million objects of earlier tests."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_new_objects_only")
def test_no_more_than_two_copies_of_the_weights_live_at_any_pass(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(108, 37), nn.ReLU(), nn.Linear(37, 4))
    size, most = 108 * 37, 0

    def count(*_: object) -> None:
        nonlocal most
        tensors = [t for t in gc.get_objects() if issubclass(type(t), torch.Tensor)]
        tensors += [p.grad for p in network.parameters() if p.grad is not None]
        places = {t.untyped_storage().data_ptr() for t in tensors if t.numel() == size and t.is_floating_point()}
        most = max(most, len(places))

    model = LoadedModel("small", "small.pt", "", {}, Classifier(network).eval())
    network[1].register_forward_pre_hook(count)
    measured(tmp_path, model, images(6))
    assert 2 <= most <= 1 + 2


# Curvature against whole Hessians, at adversarial examples that are held fixed.


def test_the_scores_of_logistic_regression_are_those_of_its_whole_hessian(tmp_path: Path) -> None:
    network, data = linear(), centred_images(10)
    settings = SETTINGS | {"curvature": 24, "batch_size": 3}
    before = network.get_parameter("1.weight").detach().clone()
    group = measured(tmp_path, loaded(network), data, settings)
    assert torch.equal(network.get_parameter("1.weight"), before)
    labels = torch.from_numpy(data.labels)
    towards = (before[1 - labels] - before[labels]).sign().view(-1, 3, 2, 2)  # the worst image, in closed form
    attacked = (torch.from_numpy(data.pixels) + 8 / 255 * towards).flatten(1)
    hessian = torch.autograd.functional.hessian(
        lambda w: functional.cross_entropy(attacked @ w.view(2, 12).T, labels), before.flatten()
    )
    values = torch.linalg.eigvalsh(hessian)
    assert score(group, "hessian_eigenvalue") == pytest.approx(float(values[-1]), abs=1e-4)
    assert score(group, "convexity") == pytest.approx(abs(float(values[0] / values[-1])), abs=1e-4)
    assert abs(score(group, "hessian_trace") - float(values.sum())) < 4 * score(group, "hessian_trace_error") + 1e-4
    assert score(group, "hessian_eigenvalue_error") < 1e-3


def test_a_small_network_has_the_eigenvalues_of_its_whole_hessian(tmp_path: Path) -> None:
    """Convolution, BatchNorm in evaluation mode and a head; the images are attacked, then held fixed."""
    network, data = network_with_batchnorm(), images(6)
    group = measured(tmp_path, loaded(network), data, SETTINGS | {"curvature": 60})
    network.eval()
    chosen = perturbed_parameters(network)
    threat = threat_of(ENTRY, "flatness")
    points, labels = [], []
    for batch in runner_of(network, data).batches():
        found = attack(
            network, batch.pixels, batch.labels, ball=threat.ball, step=threat.step,
            steps=FlatnessOptions.fast().steps, rule=threat.rule, seed=0, first=batch.rows.start,
        )  # fmt: skip
        points.append(found.points)
        labels.append(batch.labels)
    x, y = torch.cat(points).double(), torch.cat(labels)
    network = network.double()
    flat = torch.cat([p.detach().flatten() for p in chosen.values()]).double()

    def loss(weights: Tensor) -> Tensor:
        parts = torch.split(weights, [p.numel() for p in chosen.values()])
        named = {name: part.view_as(p) for (name, p), part in zip(chosen.items(), parts, strict=True)}
        logits: Tensor = torch.func.functional_call(network, named, (x,))
        return functional.cross_entropy(logits, y)

    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    assert score(group, "hessian_eigenvalue") == pytest.approx(float(values[-1]), rel=1e-4)
    assert score(group, "convexity") == pytest.approx(abs(float(values[0] / values[-1])), abs=1e-4)


def test_without_the_option_nothing_of_curvature_is_measured(tmp_path: Path) -> None:
    group = measured(tmp_path, loaded(linear()), centred_images(4))
    assert "hessian_extremes" not in group
    with pytest.raises(ValueError, match="not enough values"):
        score(group, "hessian_eigenvalue")


def test_a_network_without_gradients_through_a_tensor_is_measured(tmp_path: Path) -> None:
    class Idle(nn.Module):
        """Holds a tensor that no image reaches."""

        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(12, 2), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.used(x.flatten(1))
            return logits

    group = measured(tmp_path, loaded(Idle()), centred_images(4), SETTINGS | {"curvature": 4})
    assert score(group, "hessian_eigenvalue") > 0
