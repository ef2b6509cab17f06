"""Attack a model's images regularly and on a manifold, and measure where the results lie [Stutz2019]_."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from filterlens.attacks import Ball, Norm, attack, preserved
from filterlens.attacks.noise import noisy_images
from filterlens.manifolds.protocol import Manifold, Points, distance
from filterlens.manifolds.spans import angle_to_span

__all__ = ["Attack", "attack_batch"]


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
