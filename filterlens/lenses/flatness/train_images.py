"""Robust loss on training images, for the robust generalisation gap [Stutz2021]_."""

from __future__ import annotations

import torch

from filterlens.attacks.evaluation import Running, Threat
from filterlens.attacks.joint import robust_loss
from filterlens.errors import InputError
from filterlens.inputs import check_fits, load_images, resize_images
from filterlens.lens import ExtractContext
from filterlens.lenses.flatness.options import FlatnessOptions

__all__ = ["measure_train_images"]


def measure_train_images(runner: Running, context: ExtractContext[FlatnessOptions], threat: Threat) -> None:
    """Attack training images where the weights are, exactly as the reference attacks test images.

    The group is filled with `train_loss` and `train_correct`.

    Raises
    ------
    InputError
        The training images cannot be read, are of another kind than the test images, or are the test images.
    """
    options, settings, test = context.options, context.settings, runner.images
    train = load_images(
        options.train_data, options.images, seed=settings.seed, dataset=context.entry.dataset, fonts=settings.fonts,
        split="train",
    )  # fmt: skip
    if train.pixels.shape[2:] != test.pixels.shape[2:]:
        train = resize_images(train, test.pixels.shape[2:])
    check_fits(train, test.pixels.shape[1:])
    if train.digest == test.digest:
        raise InputError(
            f"--train-data {options.train_data} gives the very images that are tested on: name those that the model "
            "was trained on"
        )
    other = runner.on(train)
    with torch.no_grad():
        classes = other(next(other.batches()).pixels[:1]).shape[1]
    if int(train.labels.min()) < 0 or int(train.labels.max()) >= classes:
        raise InputError(
            f"--train-data {options.train_data} has labels up to {int(train.labels.max())}, and "
            f"{context.entry.model_id} gives {classes} logits: name the images that it was trained on"
        )
    found = robust_loss(other, threat, steps=options.steps, restarts=options.reference_restarts, seed=settings.seed)
    context.group.write("train_loss", found.losses)
    context.group.write("train_correct", found.correct)
    context.group.set_attributes(
        train_images=len(train), train_data=train.name, train_data_sha256=train.digest
    )  # fmt: skip
