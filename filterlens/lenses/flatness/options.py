"""What a user may turn of the flatness lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from filterlens.errors import InputError
from filterlens.lens import Options, option

__all__ = ["FlatnessOptions", "parse_radii"]


def parse_radii(text: str) -> tuple[float, ...]:
    """Read a list of numbers above 0, such as `0.25,0.5,1,2`.

    Raises
    ------
    InputError
        One is no number above 0.
    """
    try:
        found = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        found = (0.0,)
    if not all(0 < value < float("inf") for value in found):
        raise InputError(f"radii: expected numbers above 0 with commas, such as 0.25,0.5,1,2; got {text!r}")
    return found


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
    train_data
        Images that the model was trained on, as `--data` names them: for the robust generalisation gap. As many as
        test images at most.
    clean_flatness
        Measure the flatness of the clean loss too.
    radii
        Multiples of the papers' ξ at which both cases are measured too.
    plane
        Places along each axis of a plane of weight space where the robust loss is measured; 0 leaves it out.
    plane_directions
        What the plane's random directions are scaled by: the norms of `layers` or of `filters`.
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
    curvature: int = option(
        default=0, at_least=0, help="Curvature of the robust loss by so many products with its Hessian, twice."
    )
    train_data: str = option(
        default="",
        help="Images that the model was trained on, as --data names them: for the robust gap.",
        names_data=True,
    )
    clean_flatness: bool = option(default=False, help="Flatness of the clean loss too.")
    radii: tuple[float, ...] = option(
        default=(),
        help="Flatness at multiples of the papers' ξ too, such as 0.25,0.5,1,2.",
        parse="filterlens.lenses.flatness.options:parse_radii",
    )
    plane: int = option(default=0, help="Robust loss over a plane of weights: so many places a side.", at_least=0)
    plane_directions: Literal["layers", "filters"] = option(
        default="layers", help="Whether the plane's directions are scaled layer by layer, or filter by filter."
    )
    as_published: bool = option(default=False, help="Flatness as the published code has it, not the paper.")
    bf16: bool = option(default=False, help="Forward passes of attacks in bfloat16 (GPU); its effect is reported.")

    def __post_init__(self) -> None:
        """Refuse directions that there are not, and a plane of one place."""
        Options.__post_init__(self)
        if self.plane == 1:
            raise InputError("plane: expected 0, or at least 2 places a side, got 1")
        if self.plane_directions not in {"layers", "filters"}:
            raise InputError(f"plane_directions: expected layers or filters, got {self.plane_directions!r}")

    @classmethod
    def fast(cls) -> Self:
        """32 images, 9 steps (at 0.007 they cross a ball of 8/255), 3 perturbations and 2 restarts."""
        return cls(preset="fast", images=32, steps=9, average=3, worst=2, positions=(-1.0, 0.0, 1.0))

    @property
    def reference_restarts(self) -> int:
        """Restarts of PGD at the weights themselves; everywhere else it is one."""
        return 10 if self.as_published else 1

    @property
    def passes(self) -> int:
        """Forward passes over all images: one backward pass less for each time that PGD or the joint attack runs."""
        joint = self.worst if self.as_published else 2 * self.worst  # the joint attack, and PGD at its weights
        cases = self.average + joint
        known = (0.0, 0.0, 1.0)  # the reference in both landscapes, and a random perturbation in one
        places = 2 * len(self.positions) - (0 if self.as_published else sum(self.positions.count(s) for s in known))
        elsewhere = places + self.plane**2
        attacks = self.reference_restarts + cases * (1 + len(self.radii)) + elsewhere
        attacks += (self.curvature > 0) + self.clean_flatness * self.worst
        once = 2 * self.curvature + self.clean_flatness * (1 + self.average)
        return attacks * (self.steps + 1) + once
