"""What a training is: everything that decides its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import torch

from filterlens.errors import InputError
from filterlens.training.inner_attacks import AttackBudget
from filterlens.training.stopping import STOPPINGS

__all__ = ["Schedule", "TrainingPlan", "computes_bfloat16"]

Optimiser = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "cyclic"]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything that decides a training's weights.

    Parameters
    ----------
    recipe, architecture
        Names in `RECIPES` and `ARCHITECTURES`.
    seed
        Random seed of initialisation, data, order and attacks.
    epochs, images, batch_size
        Passes over so many images; the last incomplete batch of a pass is left out.
    learning_rate, weight_decay, optimiser
        Of `adamw`, or `sgd` with Nesterov's momentum of 0.9, whose weight decay leaves BatchNorm and biases alone.
    schedule
        The rate rises linearly over the first fifth of the steps, then falls to 0: on a half `cosine`, or linearly
        (`cyclic`, [Wong2020]_).
    eps, eta, steps, fgsm_step, fgsm_random_start, beta, gamma, label_smoothing, half_precision
        Settings of the attacks and of the loss, see `AttackBudget`.
    replays
        How often free adversarial training takes each batch in a row; a pass has so many times fewer batches.
    warmup
        Share of the steps over which ε and η rise to full size: small networks learn nothing under full attack.
    data
        What to train on, as `filterlens.inputs.load_split` takes it.
    width, blocks, activation
        Of the network, see `filterlens.loaders.architectures.build`.
    label_noise
        Share of each batch's labels that are replaced by classes drawn at random, anew in every epoch [Xie2016]_.
    stopping
        Which epoch's weights are given back: empty for the last one; `pgd` for the one with the highest accuracy under
        PGD on `test_images` of the training images, which are held out; `aliasing` for the last one before relative
        aliasing jumps, at which training ends. See `filterlens.training.stopping.judge`.
    manifold
        For the recipe `on-manifold` on other data than FONTS: a learned manifold's file (`filterlens train manifold`).
    auto_augment
        Transform each image by a sub-policy that AutoAugment found on CIFAR-10, drawn at random [Cubuk2019]_.
    augment
        Shift images by up to 4 pixels and mirror half of them, as is usual on CIFAR-10.
    mixed_precision
        Run every forward pass of the training in bfloat16; weights, their updates and all evaluations are float32.
    fonts
        A folder of `.ttf` files instead of the shipped faces.
    device
        `cpu`, `cuda`, …
    test_images, test_steps
        For the log: so many test images, under so many steps of PGD.
    """

    recipe: str
    architecture: str
    seed: int = 0
    epochs: int = 12
    images: int = 8000
    batch_size: int = 64
    learning_rate: float = 0.005
    weight_decay: float = 5e-4
    eps: float = 0.2
    eta: float = 0.3
    steps: int = 4
    fgsm_step: float = 1.25
    fgsm_random_start: bool = True
    beta: float = 6.0
    half_precision: bool = False
    replays: int = 4
    warmup: float = 0.4
    fonts: str = ""
    device: str = "cpu"
    test_images: int = 200
    test_steps: int = 10
    data: str = "fonts"
    width: int = 16
    blocks: int = 1
    activation: str = "relu"
    gamma: float = 0.005
    label_smoothing: float = 0.0
    optimiser: Optimiser = "adamw"
    schedule: Schedule = "cosine"
    label_noise: float = 0.0
    stopping: str = ""
    manifold: str = ""
    auto_augment: bool = False
    augment: bool = False
    mixed_precision: bool = False

    @classmethod
    def for_photographs(cls, recipe: str, architecture: str, data: str, **settings: Any) -> Self:  # noqa: ANN401
        """Plan a training on CIFAR-10-like images: ε = 8/255, augmentation, SGD with a cyclic rate, a wider network.

        Forward passes are in bfloat16 where the device computes it, see `computes_bfloat16`.

        Parameters
        ----------
        recipe, architecture, data
            As in `TrainingPlan`.
        settings
            Other fields, which come before these defaults.
        """
        bfloat16 = computes_bfloat16(settings.get("device", "cpu"))
        precision = {"mixed_precision": bfloat16, "half_precision": bfloat16}
        return cls(recipe, architecture, data=data, **(_PHOTOGRAPHS | precision | settings))

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "batch_size": self.batch_size, "steps": self.steps, "replays": self.replays}
        wrong = [name for name, value in counts.items() if value < 1]
        if wrong or self.images < self.batch_size or self.test_images < 1 or self.test_steps < 1 or self.seed < 0:
            raise InputError(
                "a training needs at least one epoch, step, replay and test image, a seed ≥ 0 and as many images as a "
                f"batch; got {self}"
            )
        if not (self.eps > 0 and self.eta > 0 and self.learning_rate > 0 and 0 <= self.warmup < 1):
            raise InputError(f"eps, eta and learning_rate are positive, warmup lies in [0, 1); got {self}")
        if not (self.beta >= 0 and self.gamma >= 0 and 0 <= self.label_smoothing < 1 and 0 <= self.label_noise < 1):
            raise InputError(
                f"beta and gamma are not negative, label_smoothing and label_noise lie in [0, 1); got {self}"
            )
        if self.stopping not in STOPPINGS:
            raise InputError(f"stopping is pgd or aliasing, or none; got {self.stopping!r}")
        if self.manifold and self.recipe != "on-manifold":
            raise InputError(f"a manifold is for the recipe on-manifold, not for {self.recipe}")
        if self.auto_augment and self.recipe == "on-manifold" and not self.manifold:
            raise InputError("AutoAugment moves images off FONTS' known manifold: not with the recipe on-manifold")
        if self.optimiser not in {"adamw", "sgd"} or self.schedule not in {"cosine", "cyclic"}:
            raise InputError(
                f"optimisers are adamw and sgd, schedules cosine and cyclic; got {self.optimiser!r} and "
                f"{self.schedule!r}"
            )

    @property
    def budget(self) -> AttackBudget:
        """The attacks at full size."""
        return AttackBudget(
            self.eps,
            self.eta,
            self.steps,
            fgsm_step=self.fgsm_step,
            fgsm_random_start=self.fgsm_random_start,
            beta=self.beta,
            gamma=self.gamma,
            label_smoothing=self.label_smoothing,
            half_precision=self.half_precision,
        )


def computes_bfloat16(device: str) -> bool:
    """Tell whether a device has instructions for bfloat16; others emulate it, ten times slower than float32.

    Parameters
    ----------
    device
        `cpu`, `cuda`, …
    """
    kind = device.partition(":")[0]
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    instructions: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch < 2.9 cannot tell
    return kind == "cpu" and bool(instructions.get("avx512_bf16") or instructions.get("amx_bf16"))


_PHOTOGRAPHS: Final[dict[str, Any]] = {
    "epochs": 10,
    "images": 50_000,
    "batch_size": 64,
    "learning_rate": 0.1,
    "weight_decay": 5e-4,
    "optimiser": "sgd",
    "schedule": "cyclic",
    "eps": 8 / 255,
    "warmup": 0.0,
    "augment": True,
    "width": 32,
    "test_images": 256,
}
