"""The manifold lens's extractor: a regular and an on-manifold attack, and how far each leaves the manifold."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.attacks import Norm
from filterlens.catalogs import Entry
from filterlens.errors import InputError
from filterlens.inputs import Images, check_fits
from filterlens.lens import ExtractContext
from filterlens.lenses.manifold.options import ManifoldOptions
from filterlens.manifolds import Points, choose_manifold
from filterlens.manifolds.attacking import Attack, attack_batch

__all__ = ["attack_of", "extract"]

_PICTURES = 32  # images of each kind that the dump keeps
_BASIS_BYTES = 256 << 20  # of the tangent spaces of one batch


def attack_of(entry: Entry, images: Images, options: ManifoldOptions, seed: int) -> Attack:
    """Choose the attack: ε and norm are the catalog's.

    Where it names none, ε is 0.3 on glyphs (one channel) and 8/255 on colour images.
    """
    norm: Norm = "L2" if entry.threat_model == "L2" and entry.eps is not None else "Linf"
    eps = entry.eps if entry.eps is not None else (0.3 if images.pixels.shape[1] == 1 else 8 / 255)
    return Attack(
        eps, norm, eta=options.eta, steps=options.steps, step=options.step, restarts=options.restarts, seed=seed
    )


def extract(context: ExtractContext[ManifoldOptions]) -> None:
    """Attack images regularly and on the manifold, and write what each attack did.

    Parameters
    ----------
    context
        The model must run. The options and the data choose the manifold (see `filterlens.manifolds.choose_manifold`).
        The group is filled with one number an image (`distance_*`, `norm_*`, `angle_*`, `correct`, `success_*`),
        `latents` and `latent_perturbation`, and the first 32 images of each kind (`images_*`). KIND is `clean`,
        `held_out`, `attacked`, `noise`, and where the manifold has a decoder `on_manifold`.

    Raises
    ------
    InputError
        There are no images, or they suit neither model nor manifold.
    CheckpointError
        The learned decoder cannot be read.
    LensSkipped
        There are only weights.
    """
    entry, images, options, settings = context.entry, context.images, context.options, context.settings
    classifier = context.model.require_classifier("manifold")
    if images is None or len(images) == 0:
        raise InputError(f"the manifold lens needs images for {entry.model_id}: name a data set with --data")
    check_fits(images, context.model.input_size)
    manifold = choose_manifold(
        options.manifold,
        images,
        entry.dataset,
        settings,
        starts=options.projection_starts,
        iterations=options.projection_iterations,
        same_class=options.same_class,
    )
    plan = attack_of(entry, images, options, settings.seed)
    points = Points.of(images, settings.device)
    classifier = classifier.to(settings.device)
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(images), size := _batch_size(images, settings.batch_size)):
        rows = slice(start, start + size)
        parts.append(attack_batch(classifier, manifold, points.take(rows), plan, first=start))
        context.progress(min(start + size, len(images)), len(images))
    for name in parts[0]:
        whole = torch.cat([part[name] for part in parts]).cpu().numpy()
        if name.startswith("images_"):
            context.group.write(name, whole[:_PICTURES].astype(np.float32), compression="gzip")
        else:
            context.group.write(name, _compact(whole))
    context.group.write("labels", images.labels)
    context.group.set_attributes(
        manifold=manifold.name,
        same_class=options.same_class,
        attack="Adam, stopped at the first success",
        fast=options.is_fast,
        data=images.name,
        data_sha256=images.digest,
        **asdict(plan),
    )


def _batch_size(images: Images, most: int) -> int:
    """As many as the settings say, fewer for images so large that their tangent spaces would fill the memory."""
    fits: int = _BASIS_BYTES // (50 * 8 * images.pixels[0].size)
    return max(1, min(most, max(4, fits)))


def _compact(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Store what was computed in float64 as float32: dumps are read by eye and by other languages."""
    return values.astype(np.float32) if values.dtype == np.float64 else values
