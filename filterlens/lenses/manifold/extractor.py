"""The manifold lens's extractor: a regular and an on-manifold attack, and how far each leaves the manifold."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filterlens.attacks import Ball, Norm, attack, preserved
from filterlens.catalogs import Entry
from filterlens.errors import InputError
from filterlens.inputs import Images, check_fits
from filterlens.lens import ExtractContext
from filterlens.lenses.manifold.noise import noisy_images
from filterlens.lenses.manifold.options import ManifoldOptions
from filterlens.manifolds import Manifold, Points, choose_manifold, distance
from filterlens.manifolds.spans import angle_to_span

__all__ = ["Attack", "attack_batch", "attack_of", "extract"]

_PICTURES = 32  # images of each kind that the dump keeps
_BASIS_BYTES = 256 << 20  # of the tangent spaces of one batch


@dataclass(frozen=True, slots=True)
class Attack:
    """How a model is attacked.

    Parameters
    ----------
    eps, norm
        Ball of the regular attack.
    eta
        Radius of the on-manifold attack, in latent units, L∞.
    steps, step, restarts
        Of both attacks: Adam, early stop at the first success.
    seed
        Of random starts and noise.
    """

    eps: float
    norm: Norm
    eta: float = 0.3
    steps: int = 40
    step: float = 0.005
    restarts: int = 5
    seed: int = 0


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


def attack_batch(
    classifier: nn.Module, manifold: Manifold, points: Points, plan: Attack, *, first: int = 0
) -> dict[str, Tensor]:
    """Attack a batch both ways and measure where the results lie.

    Parameters
    ----------
    classifier
        Takes images in [0, 1]; left exactly as it was.
    manifold
        On the points' device.
    points
        Clean images.
    plan
        How to attack.
    first
        Place of the batch's first image in the whole set: random numbers belong to an image, not to a batch.

    Returns
    -------
        Arrays by their name in the dump, one row an image.
    """
    with preserved(classifier):
        found = attack(
            classifier, points.pixels, points.labels, ball=Ball(plan.norm, plan.eps), step=plan.step,
            steps=plan.steps, rule="adam", restarts=plan.restarts, seed=plan.seed, first=first, stop_at_success=True,
        )  # fmt: skip
        with torch.no_grad():
            correct = classifier(points.pixels).argmax(dim=1) == points.labels
        on_manifold = (
            _attack_on_manifold(classifier, manifold, points, plan, first) if "decode" in manifold.capabilities else {}
        )
    tangent = manifold.tangent(points)
    length = torch.linalg.vector_norm((found.points - points.pixels).flatten(1).double(), dim=1)
    noise = noisy_images(points.pixels, length, seed=plan.seed, first=first)
    out: dict[str, Tensor] = {
        "correct": correct,
        "success_attacked": found.success,
        "distance_clean": distance(points.pixels, manifold.project(points.pixels, points)),
        "distance_held_out": manifold.held_out_distance(points.pixels, points),
        "distance_attacked_held_out": manifold.held_out_distance(found.points, points),
        "images_clean": points.pixels,
        "images_attacked": found.points,
        "images_noise": noise,
        **on_manifold,
    }
    moved = {"attacked": found.points, "noise": noise}
    if on_manifold:
        moved["on_manifold"] = on_manifold["images_on_manifold"]
    for kind, images in moved.items():
        start = on_manifold["latents"] + on_manifold["latent_perturbation"] if kind == "on_manifold" else None
        origin = on_manifold["images_decoded"] if kind == "on_manifold" else points.pixels
        delta = (images - origin).flatten(1)
        out[f"distance_{kind}"] = distance(images, manifold.project(images, points, start))
        out[f"norm_linf_{kind}"] = delta.abs().amax(dim=1)
        out[f"norm_l2_{kind}"] = torch.linalg.vector_norm(delta.double(), dim=1)
        out[f"angle_{kind}"] = angle_to_span(delta, tangent)
    return out


def _attack_on_manifold(
    classifier: nn.Module, manifold: Manifold, points: Points, plan: Attack, first: int
) -> dict[str, Tensor]:
    """Maximise the loss of f(dec(z + ζ)) over ‖ζ‖_∞ ≤ η and valid latents."""
    latents = manifold.encode(points).detach()
    found = attack(
        lambda z: classifier(manifold.decode(z, points)), latents, points.labels, ball=Ball("Linf", plan.eta),
        step=plan.step, steps=plan.steps, rule="adam", box=manifold.latent_bounds, restarts=plan.restarts,
        seed=plan.seed, first=first, stop_at_success=True,
    )  # fmt: skip
    with torch.no_grad():
        decoded = manifold.decode(latents, points)
        images = manifold.decode(found.points, points)
        correct = classifier(decoded).argmax(dim=1) == points.labels
        kept = manifold.class_of(images, points, found.points) == points.labels
    return {
        "correct_decoded": correct,
        "success_on_manifold": found.success,
        "label_kept_on_manifold": kept,
        "latents": latents,
        "latent_perturbation": found.points - latents,
        "images_decoded": decoded,
        "images_on_manifold": images,
    }


def _batch_size(images: Images, most: int) -> int:
    """As many as the settings say, fewer for images so large that their tangent spaces would fill the memory."""
    fits: int = _BASIS_BYTES // (50 * 8 * images.pixels[0].size)
    return max(1, min(most, max(4, fits)))


def _compact(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Store what was computed in float64 as float32: dumps are read by eye and by other languages."""
    return values.astype(np.float32) if values.dtype == np.float64 else values
