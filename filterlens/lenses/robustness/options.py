"""What a user may turn of the robustness lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from filterlens.errors import InputError
from filterlens.lens import Options, option

__all__ = ["RobustnessOptions"]

_ATTACKS = ("pgd", "apgd")


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessOptions(Options):
    """How strongly images are attacked.

    Parameters
    ----------
    images
        How many images are attacked.
    restarts
        Random starts of PGD; each example keeps the highest loss.
    attack
        `pgd`, of the paper's constant step, or `apgd`, whose step adapts: closer to the worst case at equal cost.
    autoattack
        Run AutoAttack's standard version too.
    transformations
        Find the worst affine transformation, and the worst rotation with translation, of each image too.
    rotations, translations
        Places of the grid that the latter is looked for on, for translations along each axis.
    bf16
        Forward passes of attacked models in bfloat16; the loss of precision is reported beside the scores.

    Raises
    ------
    InputError
        There is no such attack.
    """

    images: int = option(default=1000, help="Images a lens looks at.", at_least=1)
    restarts: int = 10
    attack: Literal["pgd", "apgd"] = option(
        default="pgd", help="PGD of the papers' constant step, or APGD, whose step adapts: stronger at equal cost."
    )
    autoattack: bool = option(default=False, help="Run AutoAttack (standard) too: slow.")
    transformations: bool = option(
        default=False, help="Accuracy under the worst affine transformation, and rotation with translation, too."
    )
    rotations: int = 31
    translations: int = 5
    bf16: bool = option(default=False, help="Forward passes of attacks in bfloat16 (GPU); its effect is reported.")

    def __post_init__(self) -> None:
        """Refuse an attack that there is not."""
        Options.__post_init__(self)
        if self.attack not in _ATTACKS:
            raise InputError(f"attack: expected {' or '.join(_ATTACKS)}, got {self.attack!r}")

    @classmethod
    def fast(cls) -> Self:
        """64 images, one restart, and a coarse grid of rotations."""
        return cls(preset="fast", images=64, restarts=1, rotations=7, translations=3)
