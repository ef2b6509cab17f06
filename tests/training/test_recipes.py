"""Each recipe lowers its own objective, attacks within its bounds, and leaves nothing behind."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator, nn
from torch.nn import functional

from filterlens.errors import InputError
from filterlens.inputs.fonts import LOWER, UPPER, load_fonts
from filterlens.training import recipes as room
from filterlens.training.inner_attacks import attack_images
from filterlens.training.recipes import RECIPES, AttackBudget, TrainingBatch, recipe


def some_batch(n: int = 32) -> TrainingBatch:
    drawn = load_fonts(n, 4, split="train")
    return TrainingBatch(
        torch.from_numpy(drawn.pixels),
        torch.from_numpy(drawn.labels),
        torch.from_numpy(drawn.latents),
        torch.from_numpy(drawn.conditions),
    )


def some_model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(128, 10),
    )  # fmt: skip


def generator() -> Generator:
    return Generator().manual_seed(9)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_lowers_its_own_objective(name: str) -> None:
    model, batch, budget = some_model(), some_batch(), AttackBudget(eps=0.1, steps=2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        loss = recipe(name)(model, batch, budget, generator())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "normal"])
def test_what_is_attacked_is_harder(name: str) -> None:
    model, batch = some_model(), some_batch()
    for _ in range(20):
        torch.autograd.backward(functional.cross_entropy(model(batch.images), batch.labels))
        with torch.no_grad():
            for p in model.parameters():
                assert p.grad is not None
                p.sub_(0.1 * p.grad)
                p.grad = None
    easy = RECIPES["normal"](model, batch, AttackBudget(), generator())
    assert RECIPES[name](model, batch, AttackBudget(eps=0.2, eta=0.3), generator()) > easy


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_leaves_no_gradients_and_the_same_numbers_come_again(name: str) -> None:
    model, batch = some_model(), some_batch()
    first = RECIPES[name](model, batch, AttackBudget(), generator())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert model.training
    assert torch.equal(first, RECIPES[name](model, batch, AttackBudget(), generator()))


@pytest.mark.parametrize(
    ("name", "passes"), [("normal", 1), ("pgd", 1), ("half", 1), ("fgsm", 1), ("trades", 1), ("mart", 1), ("awp", 1)]
)
def test_batchnorm_counts_the_step_and_not_the_attack(name: str, passes: int) -> None:
    model = some_model()
    RECIPES[name](model, some_batch(), AttackBudget(), generator())
    assert model.get_buffer("1.num_batches_tracked") == passes


@pytest.mark.parametrize(("name", "eps"), [("pgd", 0.03), ("fgsm", 0.03), ("half", 0.2), ("trades", 0.2)])
def test_attacked_images_stay_in_the_ball_and_in_range(name: str, eps: float) -> None:
    batch, seen = some_batch(), []
    model = some_model()
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    RECIPES[name](model, batch, AttackBudget(eps=eps), generator())
    final = seen[-1][-len(batch.labels) // 2 :]
    clean = batch.images[-len(final) :]
    assert (final - clean).abs().max() <= eps + 1e-6
    assert (final - clean).abs().max() > 0.9 * eps
    assert final.min() >= 0
    assert final.max() <= 1


def test_fgsm_may_begin_at_the_image_itself() -> None:
    model, batch, seen = some_model(), some_batch(), []
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    RECIPES["fgsm"](model, batch, AttackBudget(eps=0.1, fgsm_step=1.0, fgsm_random_start=False), generator())
    assert torch.equal(seen[0], batch.images)
    RECIPES["fgsm"](model, batch, AttackBudget(eps=0.1), generator())
    assert not torch.equal(seen[2], batch.images)


def test_free_training_moves_one_perturbation_from_replay_to_replay() -> None:
    model, drawn, budget = some_model(), some_batch(), AttackBudget(eps=0.1)
    batch = replace(drawn, perturbation=torch.zeros_like(drawn.images, requires_grad=True))
    assert batch.perturbation is not None
    draws, before, gradient = generator(), torch.zeros(()), torch.zeros(())
    for replay in range(3):
        loss = RECIPES["free"](model, batch, budget, draws)
        if replay:
            moved = (before + 0.1 * gradient.sign()).clamp(-0.1, 0.1)
            torch.testing.assert_close(batch.perturbation.detach(), moved)
        torch.autograd.backward(loss)
        assert batch.perturbation.grad is not None
        before, gradient = batch.perturbation.detach().clone(), batch.perturbation.grad.clone()
        assert 0.09 < before.abs().max() <= 0.1
        assert gradient.any()


def test_latents_stay_in_the_ball_and_in_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = some_batch()
    seen: list[torch.Tensor] = []
    real = room.decode  # type: ignore[attr-defined]  # to be replaced

    def watched(z: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        seen.append(z.detach().clone())
        return real(z, *arguments, **options)

    monkeypatch.setattr(room, "decode", watched)
    assert batch.latents is not None
    RECIPES["on-manifold"](some_model(), batch, AttackBudget(eta=0.1), generator())
    z = batch.latents[16:]
    assert len(seen) == AttackBudget().steps + 1
    for moved in seen:
        assert (moved - z).abs().max() <= 0.1 + 1e-6
        assert (moved >= torch.tensor(LOWER) - 1e-6).all()
        assert (moved <= torch.tensor(UPPER) + 1e-6).all()
    assert (seen[-1] - z).abs().max() > 0.05


def test_half_the_batch_stays_clean() -> None:
    batch, seen = some_batch(), []
    model = some_model()
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    for name in ("half", "on-manifold", "transformations"):
        RECIPES[name](model, batch, AttackBudget(), generator())
        assert torch.equal(seen[-1][:16], batch.images[:16])
        assert not torch.equal(seen[-1][16:], batch.images[16:])


def test_attacks_in_half_precision_find_about_the_same() -> None:
    model, batch = some_model(), some_batch()
    full = RECIPES["pgd"](model, batch, AttackBudget(eps=0.1), generator())
    halved = RECIPES["pgd"](model, batch, AttackBudget(eps=0.1, half_precision=True), generator())
    assert halved.dtype == torch.float32
    assert abs(full - halved) < 0.05 * full


def test_on_manifold_training_needs_a_manifold() -> None:
    batch = some_batch()
    with pytest.raises(InputError, match="needs data whose manifold is known"):
        recipe("on-manifold")(some_model(), TrainingBatch(batch.images, batch.labels), AttackBudget(), generator())


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(InputError, match="no recipe 'magic': choose one of normal, pgd"):
        recipe("magic")


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "mart"])
def test_label_smoothing_adds_the_mean_over_all_classes(name: str) -> None:
    model, batch = some_model(), some_batch()
    sharp, smooth, even = (
        RECIPES[name](model, batch, AttackBudget(label_smoothing=s, beta=0, gamma=0), generator()) for s in (0, 0.1, 1)
    )
    assert smooth.item() == pytest.approx(0.9 * sharp.item() + 0.1 * even.item(), rel=1e-4)
    uniform = -model(batch.images).log_softmax(dim=1).mean()
    assert RECIPES["normal"](model, batch, AttackBudget(label_smoothing=1.0), generator()).item() == pytest.approx(
        uniform.item(), rel=1e-5
    )


def test_mart_is_the_published_formula() -> None:
    model, batch, budget = some_model().eval(), some_batch(8), AttackBudget(eps=0.1, steps=2, beta=5.0)
    attacked = attack_images(model, batch, budget, generator())
    expected = 0.0
    for x, moved, label in zip(batch.images, attacked, batch.labels.tolist(), strict=True):
        p, q = (model(image[None])[0].softmax(dim=0).detach().double() for image in (x, moved))
        others = torch.cat([q[:label], q[label + 1 :]])
        boosted = -torch.log(q[label]) - torch.log(1 - others.max())
        gap = (p * (p.log() - q.log())).sum()
        expected += float(boosted + 5 * gap * (1 - p[label])) / 8
    assert RECIPES["mart"](model, batch, budget, generator()).item() == pytest.approx(expected, rel=1e-4)


def test_mart_is_finite_where_the_network_is_sure_and_wrong() -> None:
    model, batch = some_model(), some_batch(8)
    with torch.no_grad():
        model.get_parameter("5.bias")[int(batch.labels[0]) - 1] = 1e4
    loss = RECIPES["mart"](model, batch, AttackBudget(), generator())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_awp_descends_at_weights_that_were_moved_uphill_by_their_share() -> None:
    model, batch, budget = some_model(), some_batch(), AttackBudget(eps=0.1, steps=2, gamma=0.05)
    copy = deepcopy(model)
    attacked = attack_images(model, batch, budget, generator())
    before = functional.cross_entropy(copy(attacked), batch.labels)
    names = [name for name, p in copy.named_parameters() if p.dim() > 1]
    assert names == ["0.weight", "5.weight"]
    for name, gradient in zip(
        names, torch.autograd.grad(before, [copy.get_parameter(name) for name in names]), strict=True
    ):
        weight = copy.get_parameter(name)
        weight.data += 0.05 * weight.data.norm() * gradient / gradient.norm()
    expected = functional.cross_entropy(copy(attacked), batch.labels)
    expected.backward()
    loss = RECIPES["awp"](model, batch, budget, generator())
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss > before
    for one, other in zip(model.parameters(), copy.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_awp_without_a_step_is_adversarial_training() -> None:
    model, batch = some_model(), some_batch()
    awp, pgd = (RECIPES[name](model, batch, AttackBudget(gamma=0.0), generator()) for name in ("awp", "pgd"))
    assert awp.item() == pytest.approx(pgd.item(), rel=1e-6)
