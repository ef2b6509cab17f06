"""The gradient loop: closed forms, promises about state, and independence of batches."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from filterlens.attacks import (
    Ball,
    Norm,
    Perturbed,
    Rule,
    Weights,
    ascend,
    attack,
    last_iterate,
    pgd,
    preserved,
    random_points,
)
from filterlens.errors import InputError


def small_network(seed: int = 0) -> nn.Module:
    """A convolutional classifier with random BatchNorm statistics, in training mode."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 5),
    )
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.get_buffer("running_mean").normal_(0, 0.3)
            part.get_buffer("running_var").uniform_(0.5, 2)
    return network


def batch(n: int = 12, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, 8, 8, generator=generator), torch.randint(0, 5, (n,), generator=generator)


def state_of(network: nn.Module) -> dict[str, Any]:
    return {
        "values": copy.deepcopy(network.state_dict()),
        "modes": [m.training for m in network.modules()],
        "flags": [p.requires_grad for p in network.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in network.parameters()],
        "identities": [id(p) for p in network.parameters()] + [id(b) for b in network.buffers()],
    }


def assert_same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before["modes"] == after["modes"]
    assert before["flags"] == after["flags"]
    assert before["identities"] == after["identities"]
    for old, new in zip(before["gradients"], after["gradients"], strict=True):
        assert (old is None and new is None) or torch.equal(old, new)
    assert before["values"].keys() == after["values"].keys()
    for name, old in before["values"].items():
        assert torch.equal(old, after["values"][name]), name


def unusual_network() -> nn.Module:
    """Mixed modes, flags and gradients, so that a reset to any default would show."""
    network = small_network()
    network.train()
    network.get_submodule("1").eval()
    network.get_parameter("0.bias").requires_grad_(False)
    network.get_parameter("8.weight").grad = torch.randn_like(network.get_parameter("8.weight"))
    return network


class Interrupting(nn.Module):
    """Fails in the given forward pass."""

    def __init__(self, network: nn.Module, fails_at: int, error: type[BaseException]) -> None:
        super().__init__()
        self.network, self.left, self.error = network, fails_at, error

    def forward(self, images: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error("stop")
        out: Tensor = self.network(images)
        return out


# Linear models have closed forms: for two classes the worst point lies along (the sign of) w_1 - w_0.


def linear_pair() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double()
    images = torch.rand(6, 3, 2, 2, dtype=torch.double) * 0.4 + 0.3
    labels = torch.zeros(6, dtype=torch.long)
    direction = (model.get_parameter("1.weight")[1] - model.get_parameter("1.weight")[0]).detach().view(1, 3, 2, 2)
    return model, images, labels, direction


def test_linf_attack_on_a_linear_model_reaches_the_corner_of_the_ball() -> None:
    model, images, labels, direction = linear_pair()
    found = pgd(model, images, labels, eps=0.1, step=0.03, steps=20)
    assert torch.allclose(found.points, images + 0.1 * direction.sign(), atol=1e-9)
    expected = functional.cross_entropy(model(found.points), labels, reduction="none")
    assert torch.allclose(found.losses.double(), expected, atol=1e-6)


def test_l2_attack_on_a_linear_model_reaches_the_sphere_along_the_weights() -> None:
    model, images, labels, direction = linear_pair()
    found = pgd(model, images, labels, eps=0.2, step=0.05, steps=60, norm="L2")
    assert torch.allclose(found.points, images + 0.2 * direction / direction.norm(), atol=1e-3)  # losses are float32


def test_adam_reaches_the_top_of_a_quadratic_inside_the_ball() -> None:
    top = torch.tensor([[0.2, -0.1], [2.0, 0.0]])  # the second one's top lies outside
    found = attack(
        lambda z: -(z - top).square().sum(dim=1, keepdim=True).expand(-1, 2),
        torch.zeros(2, 2),
        torch.zeros(2, dtype=torch.long),
        ball=Ball("Linf", 0.3),
        step=0.02,
        steps=300,
        rule="adam",
        box=(-2.0, 2.0),
        loss=lambda logits, labels: logits[:, 0],
    )
    assert torch.allclose(found.points, torch.tensor([[0.2, -0.1], [0.3, 0.0]]), atol=2e-3)


@settings(max_examples=25, deadline=None)
@given(
    norm=st.sampled_from(["Linf", "L2"]),
    rule=st.sampled_from(["sign", "normalised", "adam"]),
    eps=st.floats(0, 2),
    step=st.floats(0.001, 1),
    seed=st.integers(0, 2**40),
)
def test_no_point_ever_leaves_its_ball_or_the_box(norm: Norm, rule: Rule, eps: float, step: float, seed: int) -> None:
    images, labels = batch(4, seed=seed % 1000)
    ball, seen = Ball(norm, eps), []

    def forward(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return x.flatten(1)[:, :5].sin() * 3

    attack(forward, images, labels, ball=ball, step=step, steps=3, rule=rule, seed=seed, restarts=2)
    assert len(seen) == 8
    for x in seen:
        delta = (x - images).flatten(1)
        length = delta.abs().amax(dim=1) if norm == "Linf" else delta.norm(dim=1)
        assert (length <= eps + 1e-5).all()
        assert x.min() >= 0
        assert x.max() <= 1


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_random_points_fill_the_ball_evenly(norm: Norm) -> None:
    points = random_points(Ball(norm, 2.0), (4000, 2), seed=5)
    length = points.abs().amax(dim=1) if norm == "Linf" else points.norm(dim=1)
    assert length.max() <= 2
    # in two dimensions both balls have the share r^2 of their volume within r
    assert (length <= 1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert points.mean(dim=0).abs().max() < 0.1


def test_random_points_belong_to_the_example_and_not_to_the_batch() -> None:
    ball = Ball("Linf", 1.0)
    whole = random_points(ball, (10, 3, 4), seed=7)
    assert torch.equal(whole[4:9], random_points(ball, (5, 3, 4), seed=7, first=4))
    assert not torch.equal(whole, random_points(ball, (10, 3, 4), seed=8))
    assert len(whole.flatten(1).unique(dim=0)) == 10


def test_batches_of_any_size_find_the_same_points() -> None:
    network, (images, labels) = small_network().eval(), batch()
    settings_: dict[str, Any] = {"eps": 0.1, "step": 0.02, "steps": 5, "restarts": 3, "seed": 9}
    whole = pgd(network, images, labels, **settings_)
    parts = [pgd(network, images[i : i + 5], labels[i : i + 5], first=i, **settings_) for i in range(0, len(images), 5)]
    assert torch.allclose(torch.cat([part.losses for part in parts]), whole.losses, atol=1e-5)
    assert torch.allclose(torch.cat([part.logits for part in parts]), whole.logits, atol=1e-5)


def test_the_same_seed_gives_the_same_points_and_another_one_others() -> None:
    network, (images, labels) = small_network().eval(), batch()
    first, again, other = (
        pgd(network, images, labels, eps=0.1, step=0.01, steps=2, seed=seed).points for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_callers_generators_are_left_alone() -> None:
    network, (images, labels) = small_network(), batch()
    before = torch.get_rng_state()
    pgd(network, images, labels, eps=0.1, step=0.05, steps=2)
    assert torch.equal(before, torch.get_rng_state())


def test_best_point_is_the_highest_loss_of_all_iterates_and_restarts() -> None:
    network, (images, labels) = small_network().eval(), batch()
    seen = []

    def forward(x: Tensor) -> Tensor:
        logits = network(x)
        seen.append((x.detach().clone(), functional.cross_entropy(logits, labels, reduction="none").detach()))
        out: Tensor = logits
        return out

    # steps far too long, so that the last iterate is often not the best
    found = attack(forward, images, labels, ball=Ball("Linf", 0.5), step=0.5, steps=6, restarts=3, seed=1)
    assert len(seen) == 3 * 7
    losses = torch.stack([loss for _, loss in seen])
    assert torch.equal(found.losses, losses.max(dim=0).values)
    which = losses.argmax(dim=0)
    assert (which % 7 != 6).any()
    for i in range(len(images)):
        assert torch.equal(found.points[i], seen[which[i]][0][i])
    assert torch.equal(found.success, found.logits.argmax(dim=1) != labels)


def test_more_restarts_never_lower_any_loss() -> None:
    network, (images, labels) = small_network().eval(), batch()
    losses = [pgd(network, images, labels, eps=0.1, step=0.02, steps=4, restarts=r).losses for r in (1, 2, 4)]
    assert (losses[1] >= losses[0]).all()
    assert (losses[2] >= losses[1]).all()
    assert (losses[2] > losses[0]).any()


def test_an_attack_that_stops_at_success_keeps_the_first_success() -> None:
    network, (images, _) = small_network().eval(), batch(20)
    labels = network(images).argmax(dim=1)
    passes = []

    def forward(x: Tensor) -> Tensor:
        logits = network(x)
        passes.append((x.detach().clone(), (logits.argmax(dim=1) != labels).detach()))
        out: Tensor = logits
        return out

    found = attack(
        forward, images, labels, ball=Ball("Linf", 0.1), step=0.01, steps=10, restarts=3, stop_at_success=True
    )
    successes = torch.stack([success for _, success in passes])
    assert torch.equal(found.success, successes.any(dim=0))
    for i in torch.nonzero(found.success)[:, 0].tolist():
        first = int(successes[:, i].int().argmax())
        assert torch.equal(found.points[i], passes[first][0][i])
    assert found.success.any()


def test_an_attack_that_stops_at_success_ends_once_nothing_is_left() -> None:
    network, (images, _) = small_network().eval(), batch()
    labels = network(images).argmax(dim=1)
    passes = 0

    def forward(x: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        out: Tensor = network(x)
        return out

    found = attack(
        forward, images, labels, ball=Ball("Linf", 1.0), step=0.2, steps=50, restarts=5, stop_at_success=True
    )
    assert found.success.all()
    assert passes < 51


def test_latents_are_attacked_through_a_decoder_within_their_bounds() -> None:
    network, decoder = small_network().eval(), nn.Sequential(nn.Linear(10, 192), nn.Sigmoid())
    latents = torch.randn(6, 10).clamp(-2, 2)
    labels = network(decoder(latents).view(-1, 3, 8, 8)).argmax(dim=1)
    with preserved(network, decoder):
        found = attack(
            lambda z: network(decoder(z).view(-1, 3, 8, 8)),
            latents,
            labels,
            ball=Ball("Linf", 0.3),
            step=0.05,
            steps=10,
            rule="adam",
            box=(torch.full((10,), -2.0), 2.0),
        )
    assert (found.points - latents).abs().max() <= 0.3 + 1e-6
    assert found.points.abs().max() <= 2
    clean = functional.cross_entropy(network(decoder(latents).view(-1, 3, 8, 8)), labels, reduction="none")
    assert found.losses.mean() > clean.mean()


def test_climbing_costs_one_forward_and_one_backward_pass_a_step() -> None:
    passes = []
    network, (images, labels) = small_network().eval(), batch()

    def forward(x: Tensor) -> Tensor:
        passes.append(x.requires_grad)
        out: Tensor = network(x)
        return out

    generator = torch.Generator().manual_seed(0)
    ball = Ball("Linf", 0.1)
    points = last_iterate(forward, images, labels, ball=ball, step=0.04, steps=7, generator=generator)
    assert passes == [True] * 7
    assert not points.requires_grad
    start = (images + random_points(ball, images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    losses = [functional.cross_entropy(network(x), labels).item() for x in (start, points)]
    assert losses[1] > losses[0]


def test_a_single_long_step_is_fgsm() -> None:
    network, (images, labels) = small_network().eval(), batch()
    x = images.clone().requires_grad_()
    functional.cross_entropy(network(x), labels).backward()
    assert x.grad is not None
    points = last_iterate(network, images, labels, ball=Ball("Linf", 0.1), step=0.1, steps=1)
    assert torch.allclose(points, (images + 0.1 * x.grad.sign()).clamp(0, 1), atol=1e-7)


def test_a_loss_that_is_not_a_number_is_never_kept_where_another_was_met() -> None:
    calls = 0

    def forward(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x * (math.nan if calls == 2 else 1.0)

    found = attack(
        forward, torch.full((2, 3), 0.5), torch.zeros(2, dtype=torch.long), ball=Ball("Linf", 0.1), step=0.05, steps=3
    )
    assert found.losses.isfinite().all()
    assert found.logits.isfinite().all()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("fails_at", [0, 3])
def test_a_model_is_as_before_after_an_attack_that_breaks_off(error: type[BaseException], fails_at: int) -> None:
    network, (images, labels) = unusual_network(), batch()
    before = state_of(network)
    with pytest.raises(error, match="stop"):
        pgd(Interrupting(network, fails_at, error), images, labels, eps=0.1, step=0.05, steps=5)
    assert_same_state(before, state_of(network))


def test_a_model_is_as_before_after_an_attack_in_any_mode() -> None:
    network, (images, labels) = unusual_network(), batch()
    before = state_of(network)
    pgd(network, images, labels, eps=0.1, step=0.05, steps=3)
    assert_same_state(before, state_of(network))
    with preserved(network, evaluate=False):
        network(images)
        assert not torch.equal(network.get_buffer("4.running_mean"), before["values"]["4.running_mean"])
    assert_same_state(before, state_of(network))


def test_a_graph_that_was_built_before_an_attack_still_gives_its_gradients() -> None:
    network, (images, labels) = small_network().eval(), batch()
    loss = functional.cross_entropy(network(images), labels)
    expected = torch.autograd.grad(loss, network.get_parameter("0.weight"), retain_graph=True)[0]
    pgd(network, images, labels, eps=0.1, step=0.05, steps=3)
    with Weights(list(network.parameters()), radius=0.5) as weights:
        weights.random_start(torch.Generator().manual_seed(0), on_sphere=True)
    loss.backward()
    found = network.get_parameter("0.weight").grad
    assert found is not None
    assert torch.equal(found, expected)


def test_an_attack_works_where_gradients_are_switched_off() -> None:
    network, (images, labels) = small_network(), batch()
    expected = pgd(network, images, labels, eps=0.1, step=0.05, steps=3).losses
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(pgd(network, images, labels, eps=0.1, step=0.05, steps=3).losses, expected)


def test_the_callers_images_are_never_changed() -> None:
    network, (images, labels) = small_network(), batch()
    copy_ = images.clone()
    pgd(network, images, labels, eps=0.1, step=0.05, steps=3)
    assert torch.equal(images, copy_)
    assert not images.requires_grad


@pytest.mark.parametrize("on_sphere", [True, False])
def test_scattered_weights_lie_in_their_balls_and_come_back(on_sphere: bool) -> None:
    network = unusual_network()
    before = state_of(network)
    parameters = list(network.parameters())
    origins = [p.detach().clone() for p in parameters]
    with Weights(parameters, radius=0.5) as weights:
        weights.random_start(torch.Generator().manual_seed(0), on_sphere=on_sphere)
        for p, w in zip(parameters, origins, strict=True):
            length = (p - w).norm() / w.norm().clamp(min=1e-12)
            assert length <= 0.5 + 1e-5
            if on_sphere and w.norm() > 0:
                assert length.item() == pytest.approx(0.5, rel=1e-4)
    assert_same_state(before, state_of(network))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_weights_come_back_after_an_exception(error: type[BaseException]) -> None:
    network = unusual_network()
    before = state_of(network)

    def break_off() -> None:
        with Weights(list(network.parameters()), radius=0.5, step=0.1) as weights:
            weights.track()
            network(batch()[0]).sum().backward()
            weights.move()
            raise error("stop")

    with pytest.raises(error, match="stop"):
        break_off()
    before["values"] = {k: v for k, v in before["values"].items() if "running" not in k and "tracked" not in k}
    after = state_of(network)
    after["values"] = {k: v for k, v in after["values"].items() if "running" not in k and "tracked" not in k}
    assert_same_state(before, after)


def test_weights_of_a_linear_loss_climb_straight_to_the_sphere() -> None:
    w, slope = nn.Parameter(torch.tensor([3.0, 4.0])), torch.tensor([1.0, 2.0])
    with Weights([w], radius=0.2, step=0.05) as weights:
        weights.track()

        def score(with_gradient: bool) -> bool:
            if with_gradient:
                (w @ slope).backward()
            return False

        ascend(score, [weights], steps=10)
        # 10 steps of 0.05 * 5 towards the slope, held at 0.2 * 5
        assert torch.allclose(w.detach(), torch.tensor([3.0, 4.0]) + slope / slope.norm(), atol=1e-5)
        (direction,) = weights.directions(1.0)
        assert torch.allclose(direction, 5 * slope / slope.norm(), atol=1e-4)
        weights.shift([direction], -0.5)
        assert torch.allclose(w.detach(), torch.tensor([3.0, 4.0]) - 2.5 * slope / slope.norm(), atol=1e-4)
        weights.reset()
        assert torch.equal(w.detach(), torch.tensor([3.0, 4.0]))


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_pgd_agrees_with_torchattacks_to_one_point(norm: Norm) -> None:
    network = small_network().eval()
    images, _ = batch(400)
    with torch.no_grad():
        labels = network(images).argmax(dim=1)
    eps, step = (0.02, 0.005) if norm == "Linf" else (0.25, 0.06)
    found = pgd(network, images, labels, eps=eps, step=step, steps=20, norm=norm)
    if norm == "Linf":
        peer = torchattacks.PGD(network, eps=eps, alpha=step, steps=20)
    else:
        peer = torchattacks.PGDL2(network, eps=eps, alpha=step, steps=20)
    torch.manual_seed(0)
    theirs = network(peer(images, labels)).argmax(dim=1) == labels
    ours = ~found.success
    assert 0.02 < ours.float().mean() < 0.98
    assert abs(theirs.float().mean() - ours.float().mean()).item() <= 0.01


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match="norms Linf and L2, not 'L1'"):
        Ball("L1", 0.1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="radius of a ball is a number from 0 on, not -1"):
        Ball("Linf", -1)
    with pytest.raises(InputError, match="steps sign, normalised and adam, not 'sgd'"):
        Perturbed(torch.zeros(1, 2), None, ball=Ball("L2", 1), step=0.1, rule="sgd", box=None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one restart"):
        attack(lambda x: x, torch.zeros(1, 2), torch.zeros(1).long(), ball=Ball("L2", 1), step=0.1, steps=1, restarts=0)
