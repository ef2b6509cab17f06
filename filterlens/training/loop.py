"""One plain loop for every recipe: deterministic, resumable after a kill, logging each epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from filterlens.errors import InputError
from filterlens.loaders.architectures import build
from filterlens.training.data import LoadData, load_data
from filterlens.training.evaluation import evaluate, score_model
from filterlens.training.plan import Schedule, TrainingPlan
from filterlens.training.recipes import AttackBudget, TrainingBatch, recipe
from filterlens.training.state import keep_state, read_state

__all__ = ["Step", "Trained", "train"]

_LOGGED_IMAGES: Final = 64  # for the aliasing scores
_MOMENTUM: Final = 0.9
_RISE: Final = 0.2


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
    state = read_state(out, plan)
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
    model = model.to(memory_format=_layout(plan.width)).to(device)
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
        keep_state(out, plan, model, optimiser, log, data=data, checkpoints=checkpoints)
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


def _layout(width: int) -> torch.memory_format:
    # on AVX2 oneDNN writes past its memory: weights' gradient, channels last, strided 1x1, fewer than 8 channels
    return torch.channels_last if width >= 8 else torch.contiguous_format


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
