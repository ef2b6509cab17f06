"""Signals of catastrophic overfitting on a fixed batch, each for a few gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from filterlens.attacks import Ball, cross_entropy, pgd, preserved, random_points
from filterlens.errors import InputError
from filterlens.training.reading import Reading

__all__ = ["SIGNALS", "CollapseMonitor"]


class CollapseMonitor:
    """Measure how a model answers a weak attack; every signal rises when FGSM training collapses.

    Parameters
    ----------
    model
        The network as it is trained; takes images in [0, 1].
    images, labels
        A fixed batch, shapes (n, channels, height, width) and (n,), such as 256 images.
    eps
        L∞ radius of the training's attack.
    signal
        What `score()` returns: `pgd2_error`, which is what `CollapseStopping` takes, `gradient_misalignment` or
        `linearity_error`.
    seed
        Random seed of the starts, which stay the same from call to call.

    Raises
    ------
    InputError
        There is no such signal, ε is not positive, or images and labels do not match.

    Notes
    -----
    The model is in eval mode while it is measured; modes, BatchNorm statistics and gradients are as before afterwards.

    References
    ----------
    [Andriushchenko2020]_ for the alignment of gradients; [Wong2020]_ stop on the accuracy under PGD.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> images, labels = torch.full((3, 1, 2, 2), 0.5), torch.tensor([0, 1, 0])
    >>> sorted(CollapseMonitor(model, images, labels, eps=0.1)().model)
    ['gradient_misalignment', 'linearity_error', 'pgd2_error']
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        eps: float,
        signal: str = "pgd2_error",
        seed: int = 0,
    ) -> None:
        if signal not in SIGNALS:
            raise InputError(f"there is no signal {signal!r}: choose one of {', '.join(SIGNALS)}")
        if not eps > 0 or len(images) != len(labels) or not len(labels):
            raise InputError(
                "a collapse is measured with eps > 0 and a label for each of at least one image, got "
                f"eps = {eps}, {len(images)} images and {len(labels)} labels"
            )
        self.model, self.images, self.labels, self.eps, self.signal, self.seed = (
            model, images, labels, eps, signal, seed
        )  # fmt: skip

    def __call__(self) -> Reading:
        """Measure every signal now."""
        return Reading({name: measure(self) for name, measure in SIGNALS.items()}, {})

    def score(self) -> float:
        """Measure the chosen signal now: what `CollapseStopping.step` takes, if it is an error."""
        return SIGNALS[self.signal](self)


def pgd2_error(monitor: CollapseMonitor) -> float:
    """Share of the images that are misclassified under PGD of two steps of 1.25 ε, in [0, 1]."""
    eps = monitor.eps
    found = pgd(
        monitor.model, monitor.images, monitor.labels, eps=eps, step=1.25 * eps, steps=2, seed=monitor.seed
    )  # fmt: skip
    return float(found.success.double().mean())


def linearity_error(monitor: CollapseMonitor) -> float:
    """How far one FGSM step's rise of the loss is from its first-order prediction, relative to the prediction.

    |Σ (ℓ(x₁) − ℓ(x₀) − ⟨∇ℓ(x₀), x₁ − x₀⟩)| / Σ ⟨∇ℓ(x₀), x₁ − x₀⟩, x₀ uniform in the ball, x₁ one step of 1.25 ε on.
    """
    start = _random_start(monitor)
    with preserved(monitor.model):
        losses, gradient = _gradient(monitor, start)
        moved = start + 1.25 * monitor.eps * gradient.sign()
        moved = monitor.images + (moved - monitor.images).clamp(-monitor.eps, monitor.eps)
        moved = moved.clamp(0, 1)
        with torch.no_grad():
            rise = (cross_entropy(monitor.model(moved), monitor.labels) - losses).double().sum()
    predicted = (gradient.double() * (moved - start)).sum()
    return float((rise - predicted).abs() / predicted.abs().clamp_min(torch.finfo(torch.float64).tiny))


def gradient_misalignment(monitor: CollapseMonitor) -> float:
    """1 − mean cosine of the loss's gradients at an image and at its random start, in [0, 2]; a zero gradient is 1."""
    with preserved(monitor.model):
        _, here = _gradient(monitor, monitor.images)
        _, there = _gradient(monitor, _random_start(monitor))
    cosines = torch.nn.functional.cosine_similarity(here.double().flatten(1), there.double().flatten(1), eps=1e-30)
    return float(1 - cosines.mean())


SIGNALS: Final[dict[str, Callable[[CollapseMonitor], float]]] = {
    "gradient_misalignment": gradient_misalignment,
    "linearity_error": linearity_error,
    "pgd2_error": pgd2_error,
}


def _random_start(monitor: CollapseMonitor) -> Tensor:
    noise = random_points(Ball("Linf", monitor.eps), monitor.images.shape, seed=monitor.seed)
    return (monitor.images + noise.to(monitor.images)).clamp(0, 1)


def _gradient(monitor: CollapseMonitor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each example, shape (n,), and its gradient at the points."""
    points = points.detach().requires_grad_()
    losses = cross_entropy(monitor.model(points), monitor.labels)
    (gradient,) = torch.autograd.grad(losses.sum(), points)
    return losses.detach(), gradient
