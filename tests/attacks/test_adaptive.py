"""APGD: the authors' code from the same start as oracle, closed forms, and the promises of every attack."""

from __future__ import annotations

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from filterlens.attacks import AdaptivePerturbed, Ball, Norm, apgd, attack, cross_entropy, pgd, random_points
from filterlens.attacks.adaptive import checkpoints
from filterlens.errors import InputError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Softplus(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Softplus(),
        nn.Flatten(), nn.Linear(128, 5),
    ).eval()  # fmt: skip


def batch(n: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, 8, 8, generator=generator), torch.randint(0, 5, (n,), generator=generator)


def radius(norm: Norm) -> float:
    return 0.05 if norm == "Linf" else 0.5


@pytest.mark.parametrize("steps", [5, 20, 50])
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_from_the_same_start_it_meets_the_losses_that_the_authors_code_meets(norm: Norm, steps: int) -> None:
    model, (images, labels), eps = network(), batch(), radius(norm)
    found = apgd(model, images, labels, eps=eps, steps=steps, norm=norm, seed=3)
    start = (images + random_points(Ball(norm, eps), images.shape, seed=3)).clamp(0, 1)
    peer = APGDAttack(model, n_iter=steps, norm=norm, n_restarts=1, eps=eps, device=torch.device("cpu"))
    peer.init_hyperparam(images)
    _, _, losses, _ = peer.attack_single_run(images, labels, x_init=start)
    torch.testing.assert_close(found.losses, losses, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_points_stay_in_ball_and_box_and_are_the_seeds(norm: Norm) -> None:
    model, (images, labels), eps = network(), batch(), radius(norm)
    found, again, other = (apgd(model, images, labels, eps=eps, norm=norm, seed=seed) for seed in (0, 0, 1))
    away = (found.points - images).flatten(1).norm(torch.inf if norm == "Linf" else 2, dim=1)
    assert away.max() <= eps + 1e-6
    assert away.min() > eps / 2
    assert 0 <= found.points.min() <= found.points.max() <= 1
    assert torch.equal(found.points, again.points)
    assert not torch.equal(found.points, other.points)


def test_what_is_kept_is_the_highest_loss_of_all_iterates_and_more_restarts_never_lower_it() -> None:
    (images, labels), met = batch(), []
    model = network()

    def forward(points: Tensor) -> Tensor:
        logits: Tensor = model(points)
        met.append(cross_entropy(logits, labels).detach())
        return logits

    kept = [
        attack(forward, images, labels, ball=Ball("Linf", 0.05), step=None, steps=20, restarts=restarts).losses
        for restarts in (1, 3)
    ]
    assert len(met) == 4 * 21
    assert torch.equal(kept[0], torch.stack(met[:21]).amax(0))
    assert torch.equal(kept[1], torch.stack(met[21:]).amax(0))
    assert (kept[1] >= kept[0]).all()


def test_an_example_is_attacked_alike_in_any_batch() -> None:
    model, (images, labels) = network(), batch()
    whole = apgd(model, images, labels, eps=0.05)
    part = apgd(model, images[10:14], labels[10:14], eps=0.05, first=10)
    torch.testing.assert_close(part.losses, whole.losses[10:14], rtol=1e-4, atol=1e-5)


def test_the_step_shrinks_until_a_maximum_inside_the_ball_is_met() -> None:
    target = torch.tensor([[0.03, -0.02], [0.001, 0.04]])

    def closeness(points: Tensor, _labels: Tensor) -> Tensor:
        away: Tensor = torch.linalg.vector_norm(points - target, dim=1)
        return -away

    def distance(step: float | None) -> float:
        found = attack(
            lambda points: points, torch.zeros(2, 2), torch.zeros(2).long(), ball=Ball("Linf", 0.1), step=step,
            steps=100, box=None, loss=closeness,
        )  # fmt: skip
        return -float(found.losses.min())

    assert distance(None) < 1e-3 < 0.005 < distance(0.1 / 4)


def test_on_a_linear_model_it_ends_in_the_corner_of_the_ball() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    images, labels = torch.full((3, 1, 2, 2), 0.5), torch.tensor([0, 1, 0])
    away = (apgd(model, images, labels, eps=0.1).points - images).flatten(1)
    weight = model.get_parameter("1.weight")
    torch.testing.assert_close(away, 0.1 * (weight[1 - labels] - weight[labels]).sign().detach())


def test_an_example_that_has_been_misclassified_is_left_alone_where_that_is_wanted() -> None:
    model, (images, labels) = network(), batch()
    with torch.no_grad():
        wrong = model(images).argmax(dim=1) != labels
    assert wrong.any()
    found = attack(
        model, images, labels, ball=Ball("Linf", 0.05), step=None, steps=20, random_start=False, stop_at_success=True
    )
    assert torch.equal(found.points[wrong], images[wrong])


def test_adam_has_no_adaptive_step() -> None:
    with pytest.raises(InputError, match="goes along sign or normalised gradients, not adam's"):
        AdaptivePerturbed(torch.zeros(1, 2), None, ball=Ball("L2", 1), steps=3, rule="adam", box=None)


@pytest.mark.parametrize(
    ("steps", "places"),
    [(1, []), (2, [1]), (20, [4, 7, 9, *range(10, 20)]), (100, [22, 41, 57, 70, 80, 87, 93, 99])],
)
def test_checkpoints_are_those_of_the_authors_code(steps: int, places: list[int]) -> None:
    assert sorted(place for place in checkpoints(steps) if place < steps) == places


def test_it_is_stronger_than_the_constant_step_at_equal_cost() -> None:
    model, (images, labels) = network(), batch(200)
    constant = pgd(model, images, labels, eps=0.1, step=0.025).losses.mean()
    assert apgd(model, images, labels, eps=0.1).losses.mean() >= constant - 1e-4
