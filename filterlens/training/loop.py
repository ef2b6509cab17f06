"""One plain loop for every recipe: deterministic, resumable after a kill, logging each epoch."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, Final, Literal, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from filterlens.errors import CheckpointError, InputError
from filterlens.loaders.architectures import build, build_as_said
from filterlens.process.files import write_atomically
from filterlens.training.data import LoadData, TrainingData, load_data
from filterlens.training.evaluation import evaluate, score_model
from filterlens.training.recipes import AttackBudget, TrainingBatch, recipe

__all__ = ["Step", "Trained", "TrainingPlan", "train"]

Optimiser = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "cyclic"]

_STATE: Final = "state.safetensors"
_LOGGED_IMAGES: Final = 64  # for the aliasing scores
_MOMENTUM: Final = 0.9
_RISE: Final = 0.2


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
    augment: bool = False
    mixed_precision: bool = False

    @classmethod
    def for_photographs(cls, recipe: str, architecture: str, data: str, **settings: Any) -> Self:  # noqa: ANN401
        """Plan a training on CIFAR-10-like images: ε = 8/255, augmentation, SGD with a cyclic rate, a wider network.

        Parameters
        ----------
        recipe, architecture, data
            As in `TrainingPlan`.
        settings
            Other fields, which come before these defaults.
        """
        return cls(recipe, architecture, data=data, **(_PHOTOGRAPHS | settings))

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
        if not (self.beta >= 0 and self.gamma >= 0 and 0 <= self.label_smoothing < 1):
            raise InputError(f"beta and gamma are not negative, label_smoothing lies in [0, 1); got {self}")
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
    "mixed_precision": True,
    "half_precision": True,
    "width": 32,
    "test_images": 256,
}


@dataclass(frozen=True, slots=True)
class Step:
    """Where a training stands, for a progress bar: step `done` of `total`; `row` after an epoch is its log row."""

    done: int
    total: int
    row: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training: the network in eval mode on the CPU, its log (one row an epoch) and its weights' file."""

    model: nn.Module
    log: tuple[dict[str, float], ...]
    weights: Path


def train(
    plan: TrainingPlan,
    out: Path,
    *,
    checkpoints: bool = False,
    progress: Callable[[Step], None] | None = None,
    load: LoadData = load_data,
) -> Trained:
    """Train a network, or go on with it where a kill stopped it.

    Parameters
    ----------
    plan
        What to train and how.
    out
        Folder for `weights.safetensors`, `log.csv`, the resumable state, and `checkpoints/epoch-NNN.safetensors`.
    checkpoints
        Keep the weights of every epoch.
    progress
        Called after every step.
    load
        How the images are loaded, where anything is left to train: for callers that keep them between trainings.

    Raises
    ------
    InputError
        The plan names an unknown recipe, architecture or device, the folder holds a training of another plan, or
        the loss is no longer finite.
    CheckpointError
        The state in the folder cannot be read.

    Notes
    -----
    The same plan gives the same weights on one machine with the same number of threads, stopped and resumed or not.
    """
    loss_of = recipe(plan.recipe)
    device = _device(plan.device)
    state = _read_state(out / _STATE, plan)
    if state is not None and len(state.log) >= plan.epochs:
        return Trained(state.network(), tuple(state.log), out / "weights.safetensors")
    data, test = load(
        plan.data,
        plan.images,
        plan.test_images,
        seed=plan.seed,
        fonts=Path(plan.fonts) if plan.fonts else None,
        augment=plan.augment,
        device=device,
    )
    if state is not None and state.data_digest not in {"", data.digest}:
        raise InputError(f"{out} holds a training on other data than {plan.data}: give those, or choose another --out")
    if len(data) < plan.batch_size:
        raise InputError(f"{plan.data} has {len(data)} images to train on, fewer than a batch of {plan.batch_size}")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    model = build(
        plan.architecture,
        in_channels=data.channels,
        classes=data.classes,
        width=plan.width,
        blocks=plan.blocks,
        activation=plan.activation,
    )
    model = model.to(memory_format=torch.channels_last).to(device)
    optimiser = _optimiser(plan, model)
    log = [] if state is None else state.load_into(model, optimiser)
    learner = _MixedPrecision(model) if plan.mixed_precision else model
    replays = plan.replays if plan.recipe == "free" else 1
    per_epoch = max(1, len(data) // plan.batch_size // replays) * replays
    total = plan.epochs * per_epoch
    done = len(log) * per_epoch
    for epoch in range(len(log), plan.epochs):
        began, loss_sum = time.perf_counter(), 0.0
        generator = torch.Generator(device).manual_seed(plan.seed * 1_000_003 + epoch)
        model.train()
        batches = islice(data.batches(plan.batch_size, plan.seed, epoch), per_epoch // replays)
        for batch in chain.from_iterable(repeat(batch, replays) for batch in batches):
            share = done / total
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * _schedule(share, plan.schedule)
            loss = loss_of(learner, batch, _ramped(plan, share), generator)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            done += 1
            loss_sum += float(loss.detach())
            if progress is not None and done % per_epoch:
                progress(Step(done, total))
        if not math.isfinite(loss_sum):
            raise InputError(f"the loss of epoch {epoch} is not finite: lower --learning-rate ({plan.learning_rate})")
        row = {"epoch": float(epoch), "train_loss": loss_sum / per_epoch} | _measured(model, test, plan)
        log.append(row | {"seconds": round(time.perf_counter() - began, 2)})
        _keep(out, plan, model, optimiser, log, data=data, checkpoints=checkpoints)
        if progress is not None:
            progress(Step(done, total, log[-1]))
    return Trained(model.cpu().eval(), tuple(log), out / "weights.safetensors")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{name!r} is no device: cpu, cuda, cuda:1, …") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here: use --device cpu")
    return device


def _optimiser(plan: TrainingPlan, model: nn.Module) -> torch.optim.Optimizer:
    if plan.optimiser == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    return torch.optim.SGD(
        model.parameters(), lr=plan.learning_rate, momentum=_MOMENTUM, nesterov=True, weight_decay=plan.weight_decay
    )


class _MixedPrecision(nn.Module):
    """A network whose forward passes run in bfloat16; logits are float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.model(images)
        return logits.float()


def _schedule(share: float, kind: Schedule) -> float:
    if share < _RISE:
        return share / _RISE
    fallen = (share - _RISE) / (1 - _RISE)
    return 1 - fallen if kind == "cyclic" else 0.5 * (1 + math.cos(math.pi * fallen))


def _ramped(plan: TrainingPlan, share: float) -> AttackBudget:
    size = min(1.0, 0.1 + 0.9 * share / plan.warmup) if plan.warmup else 1.0
    return replace(plan.budget, eps=plan.eps * size, eta=plan.eta * size)


def _measured(model: nn.Module, test: TrainingBatch, plan: TrainingPlan) -> dict[str, float]:
    accuracy = evaluate(model, test.images, test.labels, eps=plan.eps, steps=plan.test_steps)
    return asdict(accuracy) | score_model(model, test.images[:_LOGGED_IMAGES])


def _keep(
    out: Path,
    plan: TrainingPlan,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    log: list[dict[str, float]],
    *,
    data: TrainingData,
    checkpoints: bool,
) -> None:
    """Write what an epoch leaves; the state last, so that it never claims more than there is."""
    metadata = _metadata(plan, log, data)
    weights = save(_contiguous(model.state_dict()), metadata)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(log[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    if checkpoints:
        write_atomically(out / "checkpoints" / f"epoch-{len(log) - 1:03d}.safetensors", weights)
    write_atomically(out / "log.csv", table.getvalue().encode())
    write_atomically(out / "weights.safetensors", weights)
    write_atomically(out / _STATE, save(_contiguous(model.state_dict()) | _moments(optimiser), metadata))


def _metadata(plan: TrainingPlan, log: list[dict[str, float]], data: TrainingData) -> dict[str, str]:
    return {
        "architecture": plan.architecture,
        "recipe": plan.recipe,
        "seed": str(plan.seed),
        "eps": str(plan.eps),
        "in_channels": str(data.channels),
        "classes": str(data.classes),
        "width": str(plan.width),
        "blocks": str(plan.blocks),
        "activation": plan.activation,
        "data_digest": data.digest,
        "epochs_done": str(len(log)),
        "torch": torch.__version__,
        "plan": json.dumps(asdict(plan)),
        "log": json.dumps(log),
    }


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    states = optimiser.state_dict()["state"]
    return _contiguous({f"optimiser/{i}/{name}": value for i, state in states.items() for name, value in state.items()})


@dataclass(frozen=True, slots=True)
class _State:
    """What a training left when it stopped, after its last whole epoch."""

    metadata: dict[str, str]
    tensors: dict[str, Tensor]

    @property
    def log(self) -> list[dict[str, float]]:
        rows: list[dict[str, float]] = json.loads(self.metadata["log"])
        return rows

    @property
    def data_digest(self) -> str:
        """Digest of the data; empty in states of earlier versions."""
        return self.metadata.get("data_digest", "")

    @property
    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.tensors.items() if not name.startswith("optimiser/")}

    def network(self) -> nn.Module:
        """Build the network in eval mode."""
        model = build_as_said(self.metadata)
        model.load_state_dict(self._weights)
        return model.eval()

    def load_into(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> list[dict[str, float]]:
        """Fill network and optimiser; return the log."""
        state: dict[int, dict[str, Tensor]] = {}
        for key in [key for key in self.tensors if key.startswith("optimiser/")]:
            _, number, name = key.split("/")
            state.setdefault(int(number), {})[name] = self.tensors[key]
        model.load_state_dict(self._weights)
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        return self.log


def _read_state(path: Path, plan: TrainingPlan) -> _State | None:
    """Read the state that a training left; None where there is none."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): remove it to start again") from error
    if not _is_of(plan, json.loads(metadata.get("plan", "{}"))):
        raise InputError(f"{path.parent} holds a training of another plan: choose another --out, or remove the folder")
    return _State(metadata, tensors)


def _is_of(plan: TrainingPlan, said: dict[str, Any]) -> bool:
    """Whether a stored plan is this one: fields that it lacks are at their defaults, and data may have moved."""
    defaults = {field.name: field.default for field in fields(TrainingPlan)}
    wanted = asdict(plan)
    if "fonts" not in {said.get("data", "fonts"), plan.data}:
        wanted["data"] = said["data"]
    return defaults | said == wanted
