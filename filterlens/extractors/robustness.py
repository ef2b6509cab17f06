"""The robustness lens's extractor: logits on clean and on attacked images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.attacks import attack
from filterlens.catalogs import Entry
from filterlens.dumps import WritableGroup
from filterlens.extractors.autoattack import run_autoattack
from filterlens.extractors.running import Running, Threat, running, threat_of
from filterlens.inputs.images import Images
from filterlens.loaders.model import LoadedModel
from filterlens.settings import Settings

__all__ = ["KEPT_IMAGES", "STEPS", "extract"]

STEPS = 20
KEPT_IMAGES = 8
_PAPER = (1000, 10)  # images and restarts
_FAST = (64, 1)


def extract(  # noqa: PLR0917 - the register calls every lens so
    model: LoadedModel,
    entry: Entry,
    images: Images | None,
    settings: Settings,
    group: WritableGroup,
    progress: Callable[[int, int], None],
) -> None:
    """Attack a model's images by PGD-20 (and AutoAttack where asked for) and write its logits.

    Parameters
    ----------
    model
        Must run.
    entry
        Gives `eps` and `threat_model`.
    images
        The first `settings.images` are taken; where that is None 1000, or 64 when `fast`.
    settings
        `fast` makes one restart instead of ten; `autoattack`; `bf16`.
    group
        Filled with `labels` (n,), `logits_clean`, `logits_attacked` (each example's highest loss) and
        `logits_autoattack` (n, classes), `images_clean` and `images_attacked` (up to 8, channels, height, width);
        under bf16 `logits_attacked_float32` too, the same attacked images without it.
    progress
        Called with forward passes of PGD done and in all.

    Raises
    ------
    InputError
        The images do not suit the model.
    LensSkipped
        There are only weights, or the catalog gives no ball.
    MissingExtraError
        AutoAttack is wanted and not installed.
    """
    threat = threat_of(entry, "robustness")
    n_images, restarts = _FAST if settings.fast else _PAPER
    with running(model, images, settings, lens="robustness", n_images=n_images, progress=progress) as runner:
        measured = _measure(runner, threat, restarts, settings)
        pixels = runner.images.pixels
        group.write("labels", runner.images.labels)
        for name in sorted(set(measured) - {"images_attacked"}):
            group.write(name, measured[name])
        group.write("images_clean", pixels[:KEPT_IMAGES])
        group.write("images_attacked", measured["images_attacked"])
        warnings = ""
        if settings.autoattack:
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
            restarts=restarts,
            seed=settings.seed,
            fast=settings.fast,
            bf16=settings.bf16,
            autoattack=settings.autoattack,
            autoattack_warnings=warnings,
            images=len(runner.images),
            data=runner.images.name,
            data_sha256=runner.images.digest,
        )


def _measure(runner: Running, threat: Threat, restarts: int, settings: Settings) -> dict[str, NDArray[np.float32]]:
    """Logits of all images, clean and attacked, and the first attacked images."""
    runner.expect(1 + restarts * (STEPS + 1) + int(settings.bf16))
    clean: list[Tensor] = []
    attacked: list[Tensor] = []
    exact: list[Tensor] = []
    kept: list[Tensor] = []
    for batch in runner.batches():
        with torch.no_grad():
            clean.append(runner(batch.pixels))
        found = attack(
            runner, batch.pixels, batch.labels, ball=threat.ball, step=threat.step, steps=STEPS, rule=threat.rule,
            restarts=restarts, seed=settings.seed, first=batch.rows.start,
        )  # fmt: skip
        attacked.append(found.logits)
        if batch.rows.start < KEPT_IMAGES:
            kept.append(found.points)
        if settings.bf16:
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
