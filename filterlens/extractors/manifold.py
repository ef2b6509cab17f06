"""The manifold lens's extractor: a regular and an on-manifold attack, and how far each leaves the manifold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filterlens.attacks import Ball, Norm, attack, preserved
from filterlens.catalogs import Entry
from filterlens.dumps import WritableGroup
from filterlens.errors import InputError
from filterlens.inputs import Images, check_fits
from filterlens.loaders.model import LoadedModel
from filterlens.manifolds import Manifold, Points, choose_manifold, distance
from filterlens.manifolds.spans import angle_to_span
from filterlens.settings import Settings

__all__ = ["Plan", "extract", "measure", "plan_for"]

_PICTURES = 32  # images of each kind that the dump keeps
_FAST_IMAGES = 24
_BASIS_BYTES = 256 << 20  # of the tangent spaces of one batch


@dataclass(frozen=True, slots=True)
class Plan:
    """How the lens attacks.

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


def plan_for(entry: Entry, images: Images, settings: Settings) -> Plan:
    """Choose the paper's attack, or a short one for `settings.fast`.

    ε and norm are the catalog's; where it names none, ε is 0.3 on glyphs (one channel) and 8/255 on colour images.
    """
    norm: Norm = "L2" if entry.threat_model == "L2" and entry.eps is not None else "Linf"
    eps = entry.eps if entry.eps is not None else (0.3 if images.pixels.shape[1] == 1 else 8 / 255)
    if settings.fast:
        return Plan(eps, norm, steps=10, step=0.02, restarts=1, seed=settings.seed)
    return Plan(eps, norm, seed=settings.seed)


def extract(  # noqa: PLR0917 - the register calls every lens so
    model: LoadedModel,
    entry: Entry,
    images: Images | None,
    settings: Settings,
    group: WritableGroup,
    progress: Callable[[int, int], None],
) -> None:
    """Attack images regularly and on the manifold, and write what each attack did.

    Parameters
    ----------
    model
        The loaded model; it must run.
    entry
        Its catalog row.
    images
        Clean labelled images; `settings.fast` takes the first 24 unless `settings.images` says otherwise.
    settings
        `manifold` and `data` choose the manifold (see `filterlens.manifolds.choose_manifold`).
    group
        Filled with one number an image (`distance_*`, `norm_*`, `angle_*`, `correct`, `success_*`), `latents` and
        `latent_perturbation`, and the first 32 images of each kind (`images_*`). KIND is `clean`, `held_out`,
        `attacked`, `noise`, and where the manifold has a decoder `on_manifold`.
    progress
        Called with images done and images in all.

    Raises
    ------
    InputError
        There are no images, or they suit neither model nor manifold.
    CheckpointError
        The learned decoder cannot be read.
    LensSkipped
        There are only weights.
    """
    classifier = model.require_classifier("manifold")
    if images is None or len(images) == 0:
        raise InputError(f"the manifold lens needs images for {entry.model_id}: name a data set with --data")
    if settings.fast and settings.images is None:
        images = images.first(_FAST_IMAGES)
    check_fits(images, model.input_size)
    manifold = choose_manifold(images, entry.dataset, settings)
    plan = plan_for(entry, images, settings)
    points = Points.of(images, settings.device)
    classifier = classifier.to(settings.device)
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(images), size := _batch_size(images, settings)):
        rows = slice(start, start + size)
        parts.append(measure(classifier, manifold, points.take(rows), plan, first=start))
        progress(min(start + size, len(images)), len(images))
    for name in parts[0]:
        whole = torch.cat([part[name] for part in parts]).cpu().numpy()
        if name.startswith("images_"):
            group.write(name, whole[:_PICTURES].astype(np.float32), compression="gzip")
        else:
            group.write(name, _compact(whole))
    group.write("labels", images.labels)
    group.set_attributes(
        manifold=manifold.name,
        attack="Adam, stopped at the first success",
        fast=settings.fast,
        data=images.name,
        data_sha256=images.digest,
        **asdict(plan),
    )


def measure(
    classifier: nn.Module, manifold: Manifold, points: Points, plan: Plan, *, first: int = 0
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
    noise = points.pixels + _noise_like(found.points - points.pixels, seed=plan.seed, first=first)
    out: dict[str, Tensor] = {
        "correct": correct,
        "success_attacked": found.fooled,
        "distance_clean": distance(points.pixels, manifold.project(points.pixels, points)),
        "distance_held_out": manifold.held_out_distance(points.pixels, points),
        "distance_attacked_held_out": manifold.held_out_distance(found.points, points),
        "images_clean": points.pixels,
        "images_attacked": found.points,
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
    classifier: nn.Module, manifold: Manifold, points: Points, plan: Plan, first: int
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
        "success_on_manifold": found.fooled,
        "label_kept_on_manifold": kept,
        "latents": latents,
        "latent_perturbation": found.points - latents,
        "images_decoded": decoded,
        "images_on_manifold": images,
    }


def _noise_like(delta: Tensor, *, seed: int, first: int) -> Tensor:
    """Gaussian directions with the L2 norm of each perturbation."""
    noise = np.stack([
        np.random.default_rng([seed, first + i, 1]).standard_normal(delta.shape[1:], dtype=np.float32)
        for i in range(len(delta))
    ])  # fmt: skip
    direction = torch.from_numpy(noise).to(delta.device)
    scale = delta.flatten(1).norm(dim=1) / direction.flatten(1).norm(dim=1)
    noise_like: Tensor = direction * scale.view(-1, 1, 1, 1)
    return noise_like


def _batch_size(images: Images, settings: Settings) -> int:
    """As many as the settings say, fewer for images so large that their tangent spaces would fill the memory."""
    fits: int = _BASIS_BYTES // (50 * 8 * images.pixels[0].size)
    return max(1, min(settings.batch_size, max(4, fits)))


def _compact(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Store what was computed in float64 as float32: dumps are read by eye and by other languages."""
    return values.astype(np.float32) if values.dtype == np.float64 else values
