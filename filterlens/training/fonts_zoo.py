"""The zoo on FONTS: small networks, robust ones with their normal partners, and four that are neither."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from filterlens.inputs import Images
from filterlens.inputs.fonts import load_fonts
from filterlens.training.plan import TrainingPlan, computes_bfloat16
from filterlens.training.zoo import Zoo, ZooModel

__all__ = ["EPS", "FONTS_ZOO", "MEMBERS"]

EPS: Final = 0.2
_CARD: Final = """\
# The zoo on FONTS: `fonts-linf`

{count} small networks (40–60 thousand parameters) on FONTS: letters A–J of 22 typefaces, 28 x 28, under random affine
transformations (`docs/data.md`). `make zoo` trains them again. float32, safetensors; each file's metadata holds its
architecture and its whole plan.

| model | recipe | seed | ε trained | epoch | clean % | robust % | robust loss |
|---|---|---|---|---|---|---|---|
{rows}

- Accuracies: {images} test images that no log has seen (seed 1), L∞ PGD with ε = {eps},
  {steps} steps of 2.5 ε / {steps}, {restarts} restarts, the worst of all iterates; float32.
- `normal` and `pgd` of one architecture and seed are a matched pair: same initialisation, images, epochs and
  optimiser. `trades` is paired with the normal model of its architecture and seed.
- `fgsm-before` and `fgsm-collapsed` are successive epochs of one training of 16, with ε = 0.3 and a single gradient
  step: catastrophic overfitting, which costs clean accuracy too. They, `on-manifold` and `transformations` are listed
  with `robust` empty: they are looked at, and not paired.
- Two settings were chosen by looking at results, so do not read these rows as what the method gives untuned. TRADES:
  β = 6, the paper's, gave 94.5 % clean and 55.0 % robust on these same test images; β = 2 is kept. FGSM: of nine
  settings of ε, step, epochs and architecture, five run to the end and four stopped early, three did not collapse or
  never became robust, one had begun to fall when it ended, and this one collapsed; its two epochs were picked from
  its log. The collapsed model is the only one below 90 % clean accuracy.
- Recipe: {epochs} epochs over {train_images} images, batches of {batch_size}, AdamW with learning rate {learning_rate}
  and weight decay {weight_decay}, linear rise and cosine fall; ε and η rise over the first {warmup:.0%} of the steps;
  attacks of {attack_steps} steps, their forward passes in {attack_precision}, weights and updates in float32.
- Cost: {minutes:.0f} minutes of training, epochs' evaluations included, summed over single-thread processes,
  two at a time, on {machine}, shared with other work.
- Versions: Python {python}, torch {torch}.

The weights are the same again only on the same machine and versions; elsewhere floating point differs, and accuracies
come out alike.
"""
_BASE: Final = TrainingPlan("normal", "preact_resnet", eps=EPS, half_precision=computes_bfloat16("cpu"))
_PAIRED: Final = ("preact_resnet", "resnet_strided", "vgg_maxpool", "wide_resnet_avgpool")
_MEASURED_SEED: Final = 1
_BEFORE: Final = 10  # the last epoch before the collapse


def _members() -> tuple[ZooModel, ...]:
    members = []
    for architecture in _PAIRED:
        for seed in (0, 1):
            plan = replace(_BASE, architecture=architecture, seed=seed)
            partner = f"{architecture}-normal-s{seed}"
            members += [
                ZooModel(partner, plan, robust=False),
                ZooModel(f"{architecture}-pgd-s{seed}", replace(plan, recipe="pgd"), robust=True, match=partner),
            ]
    special = replace(_BASE, seed=0)
    fgsm = replace(special, recipe="fgsm", eps=0.3, epochs=16)
    return (
        *members,
        ZooModel(
            "preact_resnet-trades-s0",
            replace(special, recipe="trades", beta=2.0),
            robust=True,
            match="preact_resnet-normal-s0",
        ),
        ZooModel("preact_resnet-fgsm-before-s0", fgsm, epoch=_BEFORE),
        ZooModel("preact_resnet-fgsm-collapsed-s0", fgsm, epoch=_BEFORE + 1),
        ZooModel("preact_resnet-on-manifold-s0", replace(special, recipe="on-manifold")),
        ZooModel("preact_resnet-transformations-s0", replace(special, recipe="transformations")),
    )


def _test_images(n: int) -> Images:
    """Draw test images that the logs of the trainings have not seen."""
    return load_fonts(n, _MEASURED_SEED)


MEMBERS: Final = _members()
FONTS_ZOO: Final = Zoo("fonts-linf", "fonts", EPS, MEMBERS, _CARD, _test_images)
