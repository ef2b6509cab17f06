"""Signals of a collapse: closed forms, nothing left behind, and what a masked gradient does to them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from filterlens.errors import InputError
from filterlens.training import CollapseMonitor
from filterlens.training.collapse import SIGNALS


def batch(n: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 0.4 + 0.2 * torch.rand(n, 1, 8, 8, generator=generator), torch.arange(n) % 2


def linear() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))


class Margin(nn.Module):
    """Binary logits whose loss of label 0 is nearly −(w · x) + …: linear far from the boundary."""

    def forward(self, images: Tensor) -> Tensor:
        total = 100 * (images.flatten(1).mean(1) - 2)
        return torch.stack([total, -total], dim=1)


class Masked(nn.Module):
    """Answers with a network whose input it has multiplied by a fast wave: its gradient points anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.inner(images + 0.5 * torch.sin(200 * images))
        return out


def test_a_loss_that_is_linear_has_no_linearity_error_and_aligned_gradients() -> None:
    images, _ = batch()
    reading = CollapseMonitor(Margin(), images, torch.zeros(16, dtype=torch.long), eps=0.1)().model
    assert reading["linearity_error"] == pytest.approx(0, abs=1e-4)
    assert reading["gradient_misalignment"] == pytest.approx(0, abs=1e-6)


def test_a_masked_gradient_raises_both_signals() -> None:
    images, labels = batch()
    plain = CollapseMonitor(linear(), images, labels, eps=0.1)().model
    masked = CollapseMonitor(Masked(), images, labels, eps=0.1)().model
    assert plain["linearity_error"] < 0.2 < 0.5 < masked["linearity_error"]
    assert plain["gradient_misalignment"] < 0.1 < 0.5 < masked["gradient_misalignment"]


def test_the_error_under_pgd_counts_clean_errors_and_grows_with_the_radius() -> None:
    images, _ = batch()
    model = linear().eval()
    labels = model(images).argmax(dim=1)

    def error(right: Tensor, eps: float) -> float:
        return CollapseMonitor(model, images, right, eps=eps, signal="pgd2_error").score()

    assert (error(labels, 1e-6), error(labels, 0.3)) == (0.0, 1.0)
    assert error(1 - labels, 1e-6) == 1.0


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_score_is_the_chosen_signal_and_comes_out_the_same_again(signal: str) -> None:
    monitor = CollapseMonitor(linear(), *batch(), eps=0.1, signal=signal)
    assert monitor.score() == monitor().model[signal] == monitor.score()


def test_measuring_leaves_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 2)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    CollapseMonitor(model, *batch(), eps=0.1)()
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_measured_is_refused() -> None:
    images, labels = batch()
    with pytest.raises(InputError, match="no signal 'magic': choose one of gradient_misalignment"):
        CollapseMonitor(linear(), images, labels, eps=0.1, signal="magic")
    with pytest.raises(InputError, match="eps > 0 and a label for each"):
        CollapseMonitor(linear(), images, labels[:3], eps=0.1)
    with pytest.raises(InputError, match="eps > 0 and a label for each"):
        CollapseMonitor(linear(), images, labels, eps=0.0)
