"""What a user may turn of the flatness lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from filterlens.lens import Options, option

__all__ = ["FlatnessOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatnessOptions(Options):
    """How much of the robust loss around the weights is measured.

    Parameters
    ----------
    images
        How many images are attacked.
    steps
        Iterations of PGD and of the joint attack.
    average, worst
        T random perturbations and R restarts of the joint attack.
    positions
        Places of the landscape, s ∈ [−1, 1].
    curvature
        Products with the Hessian of the robust loss: so many for its extreme eigenvalues, and as many for its trace. 0
        leaves curvature out.
    as_published
        As the published code: ten restarts against one, starts of their own for every perturbation, the joint
        attack's last iterate, normalisation layers told by name.
    bf16
        Forward passes of attacked models in bfloat16; the loss of precision is reported beside the scores.
    """

    images: int = option(default=1000, help="Images a lens looks at.", at_least=1)
    steps: int = 20
    average: int = 10
    worst: int = 10
    positions: tuple[float, ...] = tuple(round(i / 5, 1) for i in range(-5, 6))
    curvature: int = option(default=0, help="Curvature of the robust loss by so many products with its Hessian, twice.")
    as_published: bool = option(default=False, help="Flatness as the published code has it, not the paper.")
    bf16: bool = option(default=False, help="Forward passes of attacks in bfloat16 (GPU); its effect is reported.")

    @classmethod
    def fast(cls) -> Self:
        """32 images, 10 steps, 3 perturbations and 2 restarts."""
        return cls(preset="fast", images=32, steps=10, average=3, worst=2, positions=(-1.0, -0.5, 0.0, 0.5, 1.0))

    @property
    def reference_restarts(self) -> int:
        """Restarts of PGD at the weights themselves; everywhere else it is one."""
        return 10 if self.as_published else 1

    @property
    def passes(self) -> int:
        """Forward passes over all images: one backward pass less for each time that PGD or the joint attack runs."""
        worst = self.worst if self.as_published else 2 * self.worst  # the joint attack, and PGD at its weights
        elsewhere = self.average + worst + 2 * sum(s != 0 or self.as_published for s in self.positions)
        attacks = self.reference_restarts + elsewhere
        return (attacks + (self.curvature > 0)) * (self.steps + 1) + 2 * max(0, self.curvature)
