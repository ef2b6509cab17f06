"""The robustness lens's extractor: logits on clean and on attacked images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.attacks import attack
from filterlens.attacks.evaluation import Running, Threat, running, threat_of
from filterlens.lens import ExtractContext
from filterlens.lenses.robustness.autoattack import run_autoattack
from filterlens.lenses.robustness.options import RobustnessOptions

__all__ = ["KEPT_IMAGES", "STEPS", "extract"]

STEPS = 20
KEPT_IMAGES = 8


def extract(context: ExtractContext[RobustnessOptions]) -> None:
    """Attack a model's images by PGD-20 (and AutoAttack where asked for) and write its logits.

    Parameters
    ----------
    context
        The model must run; the catalog row gives `eps` and `threat_model`. The group is filled with `labels` (n,),
        `logits_clean`, `logits_attacked` (each example's highest loss) and `logits_autoattack` (n, classes),
        `images_clean` and `images_attacked` (up to 8, channels, height, width); under bf16 `logits_attacked_float32`
        too, the same attacked images without it.

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
        warnings = ""
        if options.autoattack:
            logits, warnings = run_autoattack(
                runner.classifier, runner.images, threat.ball, seed=settings.seed, device=settings.device,
                batch_size=settings.batch_size,
            )  # fmt: skip
            group.write("logits_autoattack", logits)
        group.set_attributes(
            attack=f"PGD-{STEPS}",
            eps=threat.ball.eps,
            norm=threat.ball.norm,
            step=threat.step,
            steps=STEPS,
            restarts=options.restarts,
            seed=settings.seed,
            fast=options.is_fast,
            bf16=options.bf16,
            autoattack=options.autoattack,
            autoattack_warnings=warnings,
            images=len(runner.images),
            data=runner.images.name,
            data_sha256=runner.images.digest,
        )


def _measure(runner: Running, threat: Threat, options: RobustnessOptions, seed: int) -> dict[str, NDArray[np.float32]]:
    """Logits of all images, clean and attacked, and the first attacked images."""
    runner.expect(1 + options.restarts * (STEPS + 1) + int(options.bf16))
    clean: list[Tensor] = []
    attacked: list[Tensor] = []
    exact: list[Tensor] = []
    kept: list[Tensor] = []
    for batch in runner.batches():
        with torch.no_grad():
            clean.append(runner(batch.pixels))
        found = attack(
            runner, batch.pixels, batch.labels, ball=threat.ball, step=threat.step, steps=STEPS, rule=threat.rule,
            restarts=options.restarts, seed=seed, first=batch.rows.start,
        )  # fmt: skip
        attacked.append(found.logits)
        if batch.rows.start < KEPT_IMAGES:
            kept.append(found.points)
        if options.bf16:
            with torch.no_grad():
                exact.append(runner.classifier(found.points))
            runner.passes += 1
    measured = {
        "logits_clean": _array(clean),
        "logits_attacked": _array(attacked),
        "images_attacked": _array(kept)[:KEPT_IMAGES],
    }
    return measured | ({"logits_attacked_float32": _array(exact)} if exact else {})


def _array(parts: list[Tensor]) -> NDArray[np.float32]:
    return torch.cat(parts).float().cpu().numpy()
