"""One plain loop for every recipe: deterministic, resumable after a kill, logging each epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from filterlens.errors import InputError
from filterlens.loaders.architectures import build
from filterlens.manifolds import Manifold, load_learned
from filterlens.training.augment import auto_augmented, noisy_labels
from filterlens.training.data import LoadData, TrainingData, load_data
from filterlens.training.evaluation import evaluate, score_model
from filterlens.training.inner_attacks import AttackBudget, TrainingBatch
from filterlens.training.plan import Schedule, TrainingPlan
from filterlens.training.recipes import recipe
from filterlens.training.state import give_back, keep_state, read_state, training_digest
from filterlens.training.stopping import VALIDATION, judge

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
    if state is not None and _is_over(plan, state.log):
        return Trained(give_back(out, plan) or state.network(), tuple(state.log), out / "weights.safetensors")
    data, test = load(
        plan.data,
        plan.images,
        plan.test_images,
        seed=plan.seed,
        fonts=Path(plan.fonts) if plan.fonts else None,
        augment=plan.augment,
        device=device,
    )
    manifold = load_learned(Path(plan.manifold), device=device) if plan.manifold else None
    if state is not None and state.data_digest not in {"", training_digest(plan, data)}:
        raise InputError(
            f"{out} holds a training on other data or another manifold than these: give the same, or another --out"
        )
    data, validation = data.held_out(plan.test_images) if plan.stopping == "pgd" else (data, None)
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
        batches = islice(_batches(data, plan, epoch, manifold), per_epoch // replays)
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
        row = {"epoch": float(epoch), "train_loss": loss_sum / per_epoch} | _measured(model, test, validation, plan)
        log.append(row | {"seconds": round(time.perf_counter() - began, 2)})
        keep_state(out, plan, model, optimiser, log, data=data, checkpoints=checkpoints)
        if progress is not None:
            progress(Step(done, total, log[-1]))
        if _is_over(plan, log):
            break
    return Trained(give_back(out, plan) or model.cpu().eval(), tuple(log), out / "weights.safetensors")


def _is_over(plan: TrainingPlan, log: list[dict[str, float]]) -> bool:
    return len(log) >= plan.epochs or judge(plan.stopping, log)[1]


def _batches(data: TrainingData, plan: TrainingPlan, epoch: int, manifold: Manifold | None) -> Iterator[TrainingBatch]:
    """Batches of an epoch, images and labels changed as the plan says."""
    generator = torch.Generator().manual_seed(plan.seed * 3_628_273 + epoch)
    for batch in data.batches(plan.batch_size, plan.seed, epoch):
        images, labels = batch.images, batch.labels
        if plan.auto_augment:
            images = auto_augmented(images, generator)
        if plan.label_noise > 0:
            labels = noisy_labels(labels, plan.label_noise, classes=data.classes, generator=generator)
        yield replace(batch, images=images, labels=labels, manifold=manifold)


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


def _measured(
    model: nn.Module, test: TrainingBatch, validation: TrainingBatch | None, plan: TrainingPlan
) -> dict[str, float]:
    accuracy = evaluate(model, test.images, test.labels, eps=plan.eps, steps=plan.test_steps)
    row = asdict(accuracy) | score_model(model, test.images[:_LOGGED_IMAGES])
    if validation is not None:
        held = evaluate(model, validation.images, validation.labels, eps=plan.eps, steps=plan.test_steps)
        row[VALIDATION] = held.robust_accuracy
    return row
