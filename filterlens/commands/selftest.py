"""Known answers, on the user's machine: the arithmetic against values that follow from the definitions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from filterlens.process.extras import require_audit

__all__ = ["KnownAnswer", "selftest"]


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """One check: what was computed, and what it must be."""

    name: str
    value: float
    expected: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the value is within the tolerance."""
        return abs(self.value - self.expected) <= self.tolerance

    @property
    def text(self) -> str:
        """Say it in one line."""
        return f"{self.name}: {self.value:.6g}, expected {self.expected:.6g}"


def selftest() -> list[KnownAnswer]:
    """Run every check; takes a second.

    Returns
    -------
        One `KnownAnswer` a check, whether it passed or not.

    Examples
    --------
    >>> import filterlens
    >>> all(answer.passed for answer in filterlens.selftest())
    True
    """
    require_audit()
    return [answer for check in (_filters, _aliasing, _robustness, _attack, _fonts) for answer in check()]


def _filters() -> list[KnownAnswer]:
    import torch

    from filterlens.lenses.filters.orthogonality import orthogonality
    from filterlens.lenses.filters.sparsity import sparsity
    from filterlens.lenses.filters.variance_entropy import variance_entropy

    generator = torch.Generator().manual_seed(0)
    orthogonal = torch.linalg.qr(torch.randn(36, 16, generator=generator, dtype=torch.float64))[0].T.reshape(
        16, 4, 3, 3
    )
    duplicated = torch.randn(1, 1, 3, 3, generator=generator).abs().expand(8, 4, 3, 3)
    some_zero = torch.ones(8, 4, 3, 3)
    some_zero[:, 0] = 0.01  # on the boundary: sparse
    every_direction = torch.eye(9).repeat(4, 1).reshape(6, 6, 3, 3)
    return [
        KnownAnswer("orthogonality of orthogonal channels", orthogonality(orthogonal), 1.0, 1e-9),
        KnownAnswer("orthogonality of one channel repeated", orthogonality(duplicated), 0.0, 1e-6),
        KnownAnswer("sparsity with one filter in four on the boundary", sparsity(some_zero), 0.25, 0.0),
        KnownAnswer("sparsity of a layer of zeros", sparsity(torch.zeros(4, 4, 3, 3)), 1.0, 0.0),
        KnownAnswer("variance entropy of one filter repeated", variance_entropy(duplicated), 0.0, 1e-6),
        KnownAnswer(
            "variance entropy of the nine unit filters", variance_entropy(every_direction), math.log10(8), 1e-6
        ),
    ]


def _aliasing() -> list[KnownAnswer]:
    import numpy as np

    from filterlens.lenses.downsampling.aliasing import alias_energy, aliasing

    x = np.arange(32) / 32
    low = np.cos(2 * np.pi * 3 * x)[:, None] * np.cos(2 * np.pi * 5 * x)[None, :]
    high = np.tile(np.cos(2 * np.pi * 12 * x), (32, 1))
    return [
        KnownAnswer("aliasing of a band-limited map", float(aliasing(low, stride=(2, 2))), 0.0, 1e-12),
        KnownAnswer("aliasing of a cosine above the new Nyquist", float(aliasing(high, stride=(2, 2))), 0.5, 1e-9),
        KnownAnswer("alias energy of that cosine", float(alias_energy(high, stride=(2, 2))), 1.0, 1e-12),
    ]


def _robustness() -> list[KnownAnswer]:
    import numpy as np

    from filterlens.lenses.proportion import proportion_interval
    from filterlens.lenses.robustness.metrics import expected_calibration_error

    labels = np.arange(10) % 2
    logits = np.zeros((10, 2))
    logits[:, 0] = 1e-9  # always class 0 at confidence one half, right half the time
    low, high = proportion_interval(5, 10)
    return [
        KnownAnswer("calibration error of an honest coin", expected_calibration_error(logits, labels), 0.0, 1e-6),
        KnownAnswer("Wilson interval of 5 in 10, lower end", low, 0.2366, 1e-4),
        KnownAnswer("Wilson interval of 5 in 10, upper end", high, 0.7634, 1e-4),
    ]


def _attack() -> list[KnownAnswer]:
    import torch
    from torch import nn

    from filterlens.attacks import pgd

    linear = nn.Linear(4, 2, bias=False)
    model = nn.Sequential(nn.Flatten(), linear)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, -4.0], [0.0, 0.0, 0.0, 0.0]]))
    image = torch.full((1, 1, 2, 2), 0.5)
    adversarial = pgd(model, image, torch.tensor([0]), eps=0.1, step=0.05, steps=10, seed=0).points
    with torch.no_grad():
        drop = float((model(image) - model(adversarial))[0, 0])
    return [KnownAnswer("PGD on a linear model reaches ε ‖w‖₁", drop, 0.1 * 10, 1e-5)]


def _fonts() -> list[KnownAnswer]:
    import torch

    from filterlens.inputs.fonts import decode, load_fonts

    images = load_fonts(4, 0)
    if images.latents is None or images.conditions is None:
        return [KnownAnswer("FONTS come with their latents", 0.0, 1.0, 0.0)]
    font, letter = torch.from_numpy(images.conditions).T
    decoded = decode(torch.from_numpy(images.latents), font, letter)
    distance = float((decoded - torch.from_numpy(images.pixels)).abs().max())
    return [KnownAnswer("FONTS lie on their own manifold", distance, 0.0, 1e-5)]
