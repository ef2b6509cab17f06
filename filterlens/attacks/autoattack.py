"""AutoAttack's standard version, through its published package."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from filterlens.attacks import Ball, preserved
from filterlens.errors import InputError, MissingExtraError
from filterlens.inputs.images import Images

__all__ = ["run_autoattack"]


def run_autoattack(
    classifier: nn.Module, images: Images, ball: Ball, *, seed: int, device: str, batch_size: int
) -> tuple[NDArray[np.float32], str]:
    """Attack images with AutoAttack's standard version [Croce2020]_.

    Parameters
    ----------
    classifier
        Takes images in [0, 1], on its device; left as it was.
    images
        All of them are attacked.
    ball
        L∞ or L2.
    seed, device, batch_size
        Of the attack.

    Returns
    -------
        Logits on the attacked images, float32, shape (n, classes), clean where no attack succeeded; and what
        AutoAttack warned about (vanishing gradients, randomised defences), one line each.

    Raises
    ------
    MissingExtraError
        The package `pyautoattack` is not installed.
    InputError
        The model knows fewer than four classes, for which the standard version is not defined.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise MissingExtraError('AutoAttack is not installed: pip install "filterlens[audit]"') from error
    pixels = torch.from_numpy(images.pixels)
    labels = torch.from_numpy(images.labels)
    with preserved(classifier), _quiet() as warnings, torch.random.fork_rng(), np.errstate(all="ignore"):
        with torch.no_grad():
            n_classes = classifier(pixels[:1].to(device)).shape[1]
        if n_classes < 4:
            raise InputError(f"AutoAttack's standard version needs at least 4 classes, the model has {n_classes}")
        adversary = AutoAttack(
            classifier, norm=ball.norm, eps=ball.eps, version="standard", device=torch.device(device), seed=seed
        )
        for targeted in (adversary.apgd_targeted, adversary.fab):
            targeted.n_target_classes = min(targeted.n_target_classes, n_classes - 1)
        attacked, _ = adversary.run_standard_evaluation(pixels, labels, batch_size=batch_size)
        with torch.no_grad():
            logits = torch.cat([classifier(part.to(device)).float().cpu() for part in attacked.split(batch_size)])
    return logits.numpy(), "\n".join(dict.fromkeys(warnings))


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Collect its warnings, and put back the tracer that its check for dynamic defences switches off."""
    logger, listener, tracer = logging.getLogger("auto-attack"), _Listener(), sys.gettrace()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(listener)
    try:
        yield listener.messages
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagate
        sys.settrace(tracer)
