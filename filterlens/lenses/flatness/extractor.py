"""The flatness lens's extractor: robust loss of each example where the weights are perturbed [Stutz2021]_."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filterlens.attacks import Perturbed, Weights, ascend, attack, cross_entropy, random_points
from filterlens.attacks.evaluation import Running, Threat, running, threat_of
from filterlens.dumps import WritableGroup
from filterlens.errors import LensSkipped
from filterlens.lens import ExtractContext
from filterlens.lenses.flatness.curvature import curvature
from filterlens.lenses.flatness.options import FlatnessOptions
from filterlens.lenses.flatness.parameters import perturbed_parameters

__all__ = ["RobustLoss", "extract", "joint_attack", "robust_loss"]

AVERAGE_RADIUS = 0.5  # ξ of the average case
WORST_RADIUS = 0.00075  # ξ of the worst case
WEIGHT_STEP = 0.01
ADVERSARIAL_LENGTH = 0.01  # of the landscape's adversarial direction, relative as ξ


@dataclass(frozen=True, slots=True, eq=False)
class RobustLoss:
    """Robust loss of each example.

    Parameters
    ----------
    losses
        Cross-entropy on the attacked images, float32, shape (n,).
    correct
        Whether they are still classified correctly, uint8, shape (n,).
    """

    losses: NDArray[np.float32]
    correct: NDArray[np.uint8]


def extract(context: ExtractContext[FlatnessOptions]) -> None:
    """Measure the robust loss around a model's weights.

    Parameters
    ----------
    context
        The model must run; its weights are perturbed in place and put back exactly. The catalog row gives `eps` and
        `threat_model`. The group is filled with `labels`, `reference_loss`, `reference_correct` (n,);
        `average_loss`, `average_correct` (T, n); `worst_case_loss`, `worst_case_correct` (R, n);
        `landscape_positions` (s,), `landscape_random` and `landscape_adversarial` (s, n). Under bf16 also
        `reference_loss_float32` (n,); where curvature is asked for `hessian_extremes` (2,), highest and lowest
        eigenvalue, their errors `hessian_errors` (2,), and `hessian_traces` (curvature,).

    Raises
    ------
    InputError
        The images do not suit the model.
    LensSkipped
        There are only weights, the catalog gives no ball, or there is nothing to perturb.
    """
    options, settings, group = context.options, context.settings, context.group
    threat = threat_of(context.entry, "flatness")
    with running(
        context.model, context.images, settings, lens="flatness", bf16=options.bf16, progress=context.progress
    ) as runner:
        chosen = perturbed_parameters(runner.classifier, by_name=options.as_published)
        if not chosen:
            raise LensSkipped(
                f"{context.entry.model_id} has no parameters outside normalisation layers: nothing to perturb"
            )
        runner.expect(options.passes + (options.steps + 1 if options.bf16 else 0))
        group.write("labels", runner.images.labels)
        _measure(runner, list(chosen.values()), threat, options, seed=settings.seed, group=group)
        if options.curvature > 0:
            _measure_curvature(runner, list(chosen.values()), threat, options, seed=settings.seed, group=group)
        group.set_attributes(
            eps=threat.ball.eps,
            norm=threat.ball.norm,
            step=threat.step,
            steps=options.steps,
            reference_restarts=options.reference_restarts,
            restarts=1,
            average=options.average,
            average_radius=AVERAGE_RADIUS,
            worst=options.worst,
            worst_radius=WORST_RADIUS,
            weight_step=WEIGHT_STEP,
            adversarial_length=ADVERSARIAL_LENGTH,
            perturbed_tensors=len(chosen),
            seed=settings.seed,
            fast=options.is_fast,
            curvature=options.curvature,
            as_published=options.as_published,
            bf16=options.bf16,
            forward_passes=runner.passes,
            images=len(runner.images),
            data=runner.images.name,
            data_sha256=runner.images.digest,
        )


def _measure(
    runner: Running,
    parameters: list[nn.Parameter],
    threat: Threat,
    options: FlatnessOptions,
    *,
    seed: int,
    group: WritableGroup,
) -> None:
    def measure(weights_seed: int = 0, restarts: int = 1) -> RobustLoss:
        own = weights_seed if options.as_published else 0
        return robust_loss(runner, threat, steps=options.steps, restarts=restarts, seed=seed + own)

    reference = measure(restarts=options.reference_restarts)
    group.write("reference_loss", reference.losses)
    group.write("reference_correct", reference.correct)
    if runner.bf16:
        runner.bf16 = False
        group.write("reference_loss_float32", measure(restarts=1).losses)
        runner.bf16 = True
    with Weights(parameters, radius=AVERAGE_RADIUS) as weights:
        average = []
        for t in range(options.average):
            weights.random_start(_generator(seed, 1, t), on_sphere=True)
            average.append(measure(weights_seed=1 + t))
        _write(group, "average", average)
    with Weights(parameters, radius=WORST_RADIUS, step=WEIGHT_STEP) as weights:
        worst = []
        for r in range(options.worst):
            last = joint_attack(runner, weights, threat, options, seed=seed, restart=r)
            weights.freeze()
            worst.append(last if options.as_published else measure())
            if r == 0:  # its direction is followed at once, so that none has to be kept through the other restarts
                directions = weights.directions(ADVERSARIAL_LENGTH)
                adversarial = list(_landscape(weights, directions, options, reference, measure))
                del directions
        _write(group, "worst_case", worst)
    with Weights(parameters, radius=AVERAGE_RADIUS) as weights:
        weights.random_start(_generator(seed, 3, 0), on_sphere=True)
        directions = weights.directions(AVERAGE_RADIUS)
        random = list(_landscape(weights, directions, options, reference, measure))
    group.write("landscape_positions", np.array(options.positions, dtype=np.float32))
    group.write("landscape_random", np.stack([place.losses for place in random]))
    group.write("landscape_adversarial", np.stack([place.losses for place in adversarial]))


def _measure_curvature(
    runner: Running,
    parameters: list[nn.Parameter],
    threat: Threat,
    options: FlatnessOptions,
    *,
    seed: int,
    group: WritableGroup,
) -> None:
    """Measure the Hessian of the mean loss on the adversarial examples of the reference, which stay as they are."""
    precise, runner.bf16 = not runner.bf16, False
    try:
        with Weights(parameters, radius=0.0) as weights:
            attacked = [
                attack(
                    runner, batch.pixels, batch.labels, ball=threat.ball, step=threat.step, steps=options.steps,
                    rule=threat.rule, seed=seed, first=batch.rows.start,
                ).points
                for batch in runner.batches()
            ]  # fmt: skip
            weights.track()

            def product(vector: Sequence[Tensor]) -> list[Tensor]:
                total = [torch.zeros_like(p) for p in parameters]
                for batch, points in zip(runner.batches(), attacked, strict=True):
                    loss = cross_entropy(runner(points), batch.labels).sum() / len(runner.images)
                    gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
                    along = [(g * v).sum() for g, v in zip(gradients, vector, strict=True) if g is not None]
                    parts = torch.autograd.grad(torch.stack(along).sum(), parameters, allow_unused=True)
                    for whole, part in zip(total, parts, strict=True):
                        if part is not None:
                            whole.add_(part)
                return total

            found = curvature(product, parameters, iterations=options.curvature, probes=options.curvature, seed=seed)
    finally:
        runner.bf16 = not precise
    group.write("hessian_extremes", np.array([found.highest, found.lowest]))
    group.write("hessian_errors", np.array([found.highest_error, found.lowest_error]))
    group.write("hessian_traces", np.array(found.traces))


def robust_loss(runner: Running, threat: Threat, *, steps: int, restarts: int = 1, seed: int = 0) -> RobustLoss:
    """Attack all images by PGD where the weights now are; the random starts depend on the seed alone."""
    losses, correct = [], []
    for batch in runner.batches():
        found = attack(
            runner, batch.pixels, batch.labels, ball=threat.ball, step=threat.step, steps=steps, rule=threat.rule,
            restarts=restarts, seed=seed, first=batch.rows.start,
        )  # fmt: skip
        losses.append(found.losses)
        correct.append(~found.success)
    return _robust_loss(torch.cat(losses), torch.cat(correct))


def joint_attack(
    runner: Running, weights: Weights, threat: Threat, options: FlatnessOptions, *, seed: int, restart: int
) -> RobustLoss:
    """Move the weights to where the robust loss is high: ascend the mean loss in them and in every image together.

    Parameters
    ----------
    runner
        The model and its images.
    weights
        Entered; left at the last iterate, w + ν.
    threat
        Ball and step of the images.
    options
        `steps`; under `as_published` every restart starts at random, images and weights.
    seed, restart
        The images' random starts are those of PGD at the weights themselves; restart 0 begins at the weights, every
        other one at random in their ball.

    Returns
    -------
        Losses at the last iterate. Gradients of the whole set are gathered before anything moves, so that the result
        does not depend on the batches.

    Notes
    -----
    One iterate's losses are no `robust_loss`, which keeps every image's best: their difference would be negative
    where the weights did not move at all. The loss at w + ν is therefore measured as at w, by an attack of its own.

    References
    ----------
    [Stutz2021]_, equations 4 and 5.
    """
    n = len(runner.images)
    centre = torch.cat([batch.pixels for batch in runner.batches()])
    parts = [(batch.rows, batch.labels) for batch in runner.batches()]
    own = seed + 1 + restart if options.as_published else seed
    start = centre + random_points(threat.ball, centre.shape, seed=own).to(centre)
    points = Perturbed(centre, start, ball=threat.ball, step=threat.step, rule=threat.rule, box=(0.0, 1.0))
    weights.reset()
    if restart > 0 or options.as_published:
        weights.random_start(_generator(seed, 2, restart), on_sphere=False)
    weights.track()
    losses = torch.zeros(n, device=centre.device)
    correct = torch.zeros(n, dtype=torch.bool, device=centre.device)

    def score(with_gradient: bool) -> bool:  # noqa: FBT001 - as `ascend` calls it
        for rows, labels in parts:
            value = points.value[rows].detach().requires_grad_(with_gradient)
            with torch.set_grad_enabled(with_gradient):
                logits = runner(value)
                loss = cross_entropy(logits, labels)
            if with_gradient:
                torch.autograd.backward(loss.sum() / n)
                if value.grad is not None:
                    points.gradient[rows] = value.grad
            losses[rows] = loss.detach()
            correct[rows] = logits.detach().argmax(dim=1) == labels
        return False

    ascend(score, [weights, points], steps=options.steps)
    return _robust_loss(losses, correct)


def _landscape(
    weights: Weights,
    directions: list[Tensor],
    options: FlatnessOptions,
    reference: RobustLoss,
    measure: Callable[[], RobustLoss],
) -> Iterator[RobustLoss]:
    """Robust loss at w + s · ν̂ for every position s; at 0 it is the reference, where that had as many restarts."""
    for s in options.positions:
        if s == 0 and not options.as_published:
            yield reference
            continue
        weights.shift(directions, s)
        yield measure()
    weights.reset()


def _robust_loss(losses: Tensor, correct: Tensor) -> RobustLoss:
    return RobustLoss(losses.float().cpu().numpy().copy(), correct.cpu().numpy().astype(np.uint8))


def _write(group: WritableGroup, name: str, found: list[RobustLoss]) -> None:
    group.write(f"{name}_loss", np.stack([one.losses for one in found]))
    group.write(f"{name}_correct", np.stack([one.correct for one in found]))


def _generator(*seeds: int) -> torch.Generator:
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
