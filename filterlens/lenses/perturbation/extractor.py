"""The perturbation lens's extractor: spectra of images and attacks, and predictions under band-limited noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.attacks import attack
from filterlens.attacks.evaluation import EvaluatedBatch, Running, Threat, running, threat_of
from filterlens.errors import LensSkipped
from filterlens.lens import ExtractContext
from filterlens.lenses.perturbation.bands import band_noise, edges_for, power
from filterlens.lenses.perturbation.options import PerturbationOptions

__all__ = ["LEVELS", "STEPS", "extract"]

STEPS = 20
LEVELS = (0.5, 1.0, 2.0)  # of the option's noise


def extract(context: ExtractContext[PerturbationOptions]) -> None:
    """Attack a model's images, add noise of each band to them, and write spectra and predictions.

    Parameters
    ----------
    context
        The model must run. The group is filled with `labels` and `predictions_clean` (n,), `edges` (bands + 1,) in
        cycles a pixel, `levels` (3,), `predictions_noise` (3, bands, n), and the mean power spectra `image_power`
        (without the mean of each image and channel) and, where the catalog gives a ball, `perturbation_power`, (h, w).

    Raises
    ------
    InputError
        The images do not suit the model.
    LensSkipped
        There are only weights.
    """
    options, settings, group = context.options, context.settings, context.group
    threat = _threat(context)
    with running(
        context.model, context.images, settings, lens="perturbation", bf16=False, progress=context.progress
    ) as runner:
        images = runner.images
        edges = edges_for(*images.pixels.shape[2:])
        n_bands = len(edges) - 1
        runner.expect(1 + n_bands * len(LEVELS) + (0 if threat is None else STEPS + 1))
        levels = np.array([options.noise_rms * level for level in LEVELS])
        clean = np.empty(len(images), dtype=np.int32)
        noisy = np.empty((len(LEVELS), n_bands, len(images)), dtype=np.int32)
        sums: dict[str, NDArray[np.float64]] = {}
        for batch in runner.batches():
            pixels = images.pixels[batch.rows]
            clean[batch.rows] = runner.classes(batch.pixels)
            noisy[:, :, batch.rows] = _under_noise(runner, batch, levels, seed=settings.seed)
            found = {"image_power": pixels - pixels.mean(axis=(2, 3), keepdims=True)}
            if threat is not None:
                found["perturbation_power"] = _perturbation(runner, batch, threat, settings.seed)
            for name, arrays in found.items():
                sums[name] = sums.get(name, 0.0) + power(arrays) * len(pixels)
    group.write("labels", images.labels)
    group.write("predictions_clean", clean)
    group.write("edges", edges)
    group.write("levels", levels)
    group.write("predictions_noise", noisy, compression="gzip")
    for name, total in sums.items():
        group.write(name, total / len(images))
    group.set_attributes(
        attack="" if threat is None else f"PGD-{STEPS}",
        eps=math.nan if threat is None else threat.ball.eps,
        norm="" if threat is None else threat.ball.norm,
        noise_rms=options.noise_rms,
        images=len(images),
        seed=settings.seed,
        fast=options.is_fast,
        data=images.name,
        data_sha256=images.digest,
    )


def _threat(context: ExtractContext[PerturbationOptions]) -> Threat | None:
    """Read the ball of the catalog's row, or None where it gives none: noise needs no ball."""
    try:
        return threat_of(context.entry, "perturbation")
    except LensSkipped:
        return None


def _under_noise(
    runner: Running, batch: EvaluatedBatch, levels: NDArray[np.float64], *, seed: int
) -> NDArray[np.int32]:
    """Predicted classes under noise of each level and band, shape (levels, bands, b)."""
    shape = tuple(batch.pixels.shape[1:])
    places = range(batch.rows.start, batch.rows.stop)
    noise = np.stack([band_noise((shape[0], shape[1], shape[2]), seed=seed, place=place) for place in places])
    every = [
        [runner.classes(batch.pixels + float(level) * band) for band in _bands(noise, batch.pixels)] for level in levels
    ]
    return np.array(every, dtype=np.int32)


def _bands(noise: NDArray[np.float32], like: Tensor) -> Iterator[Tensor]:
    """Noise (b, bands, channels, h, w) band by band, on the device."""
    for band in range(noise.shape[1]):
        yield torch.from_numpy(np.ascontiguousarray(noise[:, band])).to(like.device)


def _perturbation(runner: Running, batch: EvaluatedBatch, threat: Threat, seed: int) -> NDArray[np.float32]:
    """Return what PGD adds to each image, shape (b, channels, h, w)."""
    found = attack(
        runner, batch.pixels, batch.labels, ball=threat.ball, step=threat.step, steps=STEPS, rule=threat.rule,
        restarts=1, seed=seed, first=batch.rows.start,
    )  # fmt: skip
    return np.asarray((found.points - batch.pixels).float().cpu().numpy(), dtype=np.float32)
