"""One plain loop for every recipe: deterministic, resumable after a kill, logging each epoch."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Final, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from filterlens.errors import CheckpointError, InputError
from filterlens.inputs.fonts import load_fonts, load_prototypes
from filterlens.loaders.architectures import build
from filterlens.process.files import write_atomically
from filterlens.training.evaluation import evaluate, score_model
from filterlens.training.recipes import AttackBudget, TrainingBatch, recipe

__all__ = ["Step", "Trained", "TrainingPlan", "train"]

_STATE: Final = "state.safetensors"
_LOGGED_IMAGES: Final = 64  # for the aliasing scores


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
        Passes over so many FONTS images; the last incomplete batch of a pass is left out.
    learning_rate, weight_decay
        Settings of AdamW. The rate rises linearly over the first fifth of the steps, then falls on a half cosine to 0.
    eps, eta, steps, fgsm_step, fgsm_random_start, beta, half_precision
        Settings of the attacks, see `AttackBudget`.
    replays
        How often free adversarial training takes each batch in a row; a pass has so many times fewer batches.
    warmup
        Share of the steps over which ε and η rise to full size: small networks learn nothing under full attack.
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
            half_precision=self.half_precision,
        )


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
) -> Trained:
    """Train a network on FONTS, or go on with it where a kill stopped it.

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
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    model = build(plan.architecture).to(memory_format=torch.channels_last).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    log = _resume(out / _STATE, plan, model, optimiser)
    data, test = _data(plan, "train", device), _data(plan, "test", device)
    replays = plan.replays if plan.recipe == "free" else 1
    per_epoch = max(1, plan.images // plan.batch_size // replays) * replays
    total = plan.epochs * per_epoch
    done = len(log) * per_epoch
    for epoch in range(len(log), plan.epochs):
        began, loss_sum = time.perf_counter(), 0.0
        generator = torch.Generator(device).manual_seed(plan.seed * 1_000_003 + epoch)
        model.train()
        batches = islice(_batches(data, plan, epoch), per_epoch // replays)
        for batch in chain.from_iterable(repeat(batch, replays) for batch in batches):
            share = done / total
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * _schedule(share)
            loss = loss_of(model, batch, _ramped(plan, share), generator)
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
        _keep(out, plan, model, optimiser, log, checkpoints=checkpoints)
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


def _data(plan: TrainingPlan, split: Literal["train", "test"], device: torch.device) -> TrainingBatch:
    fonts = Path(plan.fonts) if plan.fonts else None
    n = plan.images if split == "train" else plan.test_images
    drawn = load_fonts(n, plan.seed if split == "train" else 0, fonts=fonts, split=split)
    return TrainingBatch(
        torch.from_numpy(drawn.pixels).to(device),
        torch.from_numpy(drawn.labels).to(device),
        torch.from_numpy(drawn.latents).to(device),
        torch.from_numpy(drawn.conditions).to(device),
        torch.from_numpy(load_prototypes(fonts).copy()).to(device),
    )


def _batches(data: TrainingBatch, plan: TrainingPlan, epoch: int) -> Iterator[TrainingBatch]:
    order = torch.randperm(plan.images, generator=torch.Generator().manual_seed(plan.seed * 7_368_787 + epoch))
    for chosen in torch.split(order.to(data.images.device), plan.batch_size):
        if len(chosen) == plan.batch_size:
            yield TrainingBatch(
                data.images[chosen],
                data.labels[chosen],
                None if data.latents is None else data.latents[chosen],
                None if data.conditions is None else data.conditions[chosen],
                data.prototypes,
                torch.zeros_like(data.images[chosen], requires_grad=True),
            )


def _schedule(share: float) -> float:
    return share / 0.2 if share < 0.2 else 0.5 * (1 + math.cos(math.pi * (share - 0.2) / 0.8))


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
    checkpoints: bool,
) -> None:
    """Write what an epoch leaves; the state last, so that it never claims more than there is."""
    metadata = _metadata(plan, log)
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


def _metadata(plan: TrainingPlan, log: list[dict[str, float]]) -> dict[str, str]:
    return {
        "architecture": plan.architecture,
        "recipe": plan.recipe,
        "seed": str(plan.seed),
        "eps": str(plan.eps),
        "in_channels": "1",
        "classes": "10",
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


def _resume(
    path: Path, plan: TrainingPlan, model: nn.Module, optimiser: torch.optim.Optimizer
) -> list[dict[str, float]]:
    """Take up the state that a stopped training left; return its log."""
    if not path.is_file():
        return []
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): remove it to start again") from error
    if metadata.get("plan") != json.dumps(asdict(plan)):
        raise InputError(f"{path.parent} holds a training of another plan: choose another --out, or remove the folder")
    state: dict[int, dict[str, Tensor]] = {}
    for key in [key for key in tensors if key.startswith("optimiser/")]:
        _, number, name = key.split("/")
        state.setdefault(int(number), {})[name] = tensors.pop(key)
    model.load_state_dict(tensors)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    log: list[dict[str, float]] = json.loads(metadata["log"])
    return log
