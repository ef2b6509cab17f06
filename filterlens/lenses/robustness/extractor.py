"""The robustness lens's extractor: logits on clean and on attacked images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.attacks import attack
from filterlens.attacks.autoattack import run_autoattack
from filterlens.attacks.evaluation import Running, Threat, running, threat_of
from filterlens.attacks.transformations import (
    AFFINE_RADIUS,
    ROTATION,
    affine_logits,
    grid_of,
    rotation_logits,
    translation_of,
)
from filterlens.dumps import WritableGroup
from filterlens.lens import ExtractContext
from filterlens.lenses.robustness.options import RobustnessOptions
from filterlens.tracing.first_stage import first_stage

__all__ = ["KEPT_IMAGES", "STEPS", "extract"]

STEPS = 20
KEPT_IMAGES = 8
_STAGE_BYTES = 2 << 20  # of the first stages of one dump, clean and attacked


def extract(context: ExtractContext[RobustnessOptions]) -> None:
    """Attack a model's images by 20 steps of PGD or APGD (and AutoAttack where asked for) and write its logits.

    Parameters
    ----------
    context
        The model must run; the catalog row gives `eps` and `threat_model`. The group is filled with `labels` (n,),
        `logits_clean`, `logits_attacked` (each example's highest loss), and where asked for `logits_autoattack`,
        `logits_affine` and `logits_rotation` (n, classes),
        `images_clean` and `images_attacked` (up to 8, channels, height, width); of a network with a convolution
        `first_stage_weight` (c_out, c_in / groups, k_h, k_w) and `first_stage_clean` and `first_stage_attacked`
        (m, c_out, h, w), what its first stage puts out on the first m of those images; under bf16
        `logits_attacked_float32` too, the same attacked images without it.

    Raises
    ------
    InputError
        The images do not suit the model.
    LensSkipped
        There are only weights, or the catalog gives no ball.
    MissingExtraError
        AutoAttack is wanted and not installed.
    """
    options, settings, group = context.options, context.settings, context.group
    threat = threat_of(context.entry, "robustness")
    with running(
        context.model, context.images, settings, lens="robustness", bf16=options.bf16, progress=context.progress
    ) as runner:
        measured = _measure(runner, threat, options, settings.seed)
        pixels = runner.images.pixels
        group.write("labels", runner.images.labels)
        for name in sorted(set(measured) - {"images_attacked"}):
            group.write(name, measured[name])
        group.write("images_clean", pixels[:KEPT_IMAGES])
        group.write("images_attacked", measured["images_attacked"])
        _record_first_stage(runner, measured["images_attacked"], group)
        warnings = ""
        if options.autoattack:
            logits, warnings = run_autoattack(
                runner.classifier, runner.images, threat.ball, seed=settings.seed, device=settings.device,
                batch_size=settings.batch_size,
            )  # fmt: skip
            group.write("logits_autoattack", logits)
        group.set_attributes(
            attack=f"{options.attack.upper()}-{STEPS}",
            eps=threat.ball.eps,
            norm=threat.ball.norm,
            step=threat.step if options.attack == "pgd" else 2 * threat.ball.eps,
            steps=STEPS,
            restarts=options.restarts,
            seed=settings.seed,
            fast=options.is_fast,
            bf16=options.bf16,
            autoattack=options.autoattack,
            autoattack_warnings=warnings,
            **_transformations(runner, options),
            images=len(runner.images),
            data=runner.images.name,
            data_sha256=runner.images.digest,
        )


def _record_first_stage(runner: Running, attacked: NDArray[np.float32], group: WritableGroup) -> None:
    """Write what the first stage puts out on as many of the kept images as take 2 MiB, at least on one."""
    clean = runner.images.pixels[: len(attacked)]
    stages = [
        first_stage(runner.classifier, torch.from_numpy(images).to(runner.device), network=runner.classifier.network)
        for images in (clean, attacked)
    ]
    if stages[0] is None or stages[1] is None:
        return
    n = max(1, _STAGE_BYTES // (2 * 4 * stages[0].activation[0].numel()))
    group.write("first_stage_weight", _array([stages[0].weight]))
    for name, stage in zip(("clean", "attacked"), stages, strict=True):
        if stage is not None:
            group.write(f"first_stage_{name}", _array([stage.activation[:n]]), compression="gzip")
    group.set_attributes(first_stage_layer=stages[0].layer, first_stage_operations=", ".join(stages[0].operations))


def _measure(runner: Running, threat: Threat, options: RobustnessOptions, seed: int) -> dict[str, NDArray[np.float32]]:
    """Logits of all images, clean and attacked, and the first attacked images."""
    attacks = options.restarts * (1 + options.transformations)
    places = options.rotations * options.translations**2 if options.transformations else 0
    runner.expect(1 + attacks * (STEPS + 1) + places + int(options.bf16))
    step = threat.step if options.attack == "pgd" else None  # None adapts
    clean: list[Tensor] = []
    attacked: list[Tensor] = []
    exact: list[Tensor] = []
    kept: list[Tensor] = []
    moved: dict[str, list[Tensor]] = {"affine": [], "rotation": []} if options.transformations else {}
    grid = grid_of(*runner.images.pixels.shape[2:], rotations=options.rotations, translations=options.translations)
    for batch in runner.batches():
        with torch.no_grad():
            clean.append(runner(batch.pixels))
        found = attack(
            runner, batch.pixels, batch.labels, ball=threat.ball, step=step, steps=STEPS, rule=threat.rule,
            restarts=options.restarts, seed=seed, first=batch.rows.start,
        )  # fmt: skip
        attacked.append(found.logits)
        if batch.rows.start < KEPT_IMAGES:
            kept.append(found.points)
        if options.transformations:
            affine = affine_logits(runner, batch, clean[-1], steps=STEPS, restarts=options.restarts, seed=seed)
            moved["affine"].append(affine)
            moved["rotation"].append(rotation_logits(runner, batch, clean[-1], grid))
        if options.bf16:
            with torch.no_grad():
                exact.append(runner.classifier(found.points))
            runner.passes += 1
    measured = {
        "logits_clean": _array(clean),
        "logits_attacked": _array(attacked),
        "images_attacked": _array(kept)[:KEPT_IMAGES],
    }
    measured |= {f"logits_{name}": _array(logits) for name, logits in moved.items()}
    return measured | ({"logits_attacked_float32": _array(exact)} if exact else {})


def _transformations(runner: Running, options: RobustnessOptions) -> dict[str, float]:
    """Radii and grid of the transformations, for the dump; nothing where none were asked for."""
    if not options.transformations:
        return {}
    return {
        "affine_radius": AFFINE_RADIUS,
        "rotation_degrees": ROTATION,
        "translation_pixels": translation_of(max(runner.images.pixels.shape[2:])),
        "rotations": options.rotations,
        "translations": options.translations,
    }


def _array(parts: list[Tensor]) -> NDArray[np.float32]:
    return torch.cat(parts).float().cpu().numpy()
