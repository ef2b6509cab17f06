"""The flatness lens's extractor: robust loss of each example where the weights are perturbed [Stutz2021]_."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filterlens.attacks import Points, Weights, ascend, attack, cross_entropy, random_points
from filterlens.catalogs import Entry
from filterlens.dumps import WritableGroup
from filterlens.errors import LensSkipped
from filterlens.extractors.perturbed import perturbed_parameters
from filterlens.extractors.running import Running, Threat, running, threat_of
from filterlens.inputs.images import Images
from filterlens.loaders.model import LoadedModel
from filterlens.settings import Settings

__all__ = ["Protocol", "RobustLoss", "extract", "joint_attack", "robust_loss"]

AVERAGE_RADIUS = 0.5  # ξ of the average case
WORST_RADIUS = 0.00075  # ξ of the worst case
WEIGHT_STEP = 0.01
ADVERSARIAL_LENGTH = 0.01  # of the landscape's adversarial direction, relative as ξ


@dataclass(frozen=True, slots=True)
class Protocol:
    """How much is measured.

    Parameters
    ----------
    images
        Where the user names no number.
    steps
        Iterations of PGD and of the joint attack.
    average, worst
        T random perturbations and R restarts of the joint attack.
    reference_restarts
        Restarts of PGD at the weights themselves; everywhere else it is one.
    positions
        Places of the landscape, s ∈ [−1, 1].
    as_published
        As the published code: ten restarts against one, starts of their own for every perturbation, the joint
        attack's last iterate, normalisation layers told by name.
    """

    images: int = 1000
    steps: int = 20
    average: int = 10
    worst: int = 10
    reference_restarts: int = 1
    positions: tuple[float, ...] = tuple(round(i / 5, 1) for i in range(-5, 6))
    as_published: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the paper's protocol, its fast version, or the published code's."""
        protocol = cls()
        if settings.fast:
            protocol = replace(protocol, images=32, steps=10, average=3, worst=2, positions=(-1.0, -0.5, 0.0, 0.5, 1.0))
        if settings.as_published:
            protocol = replace(protocol, as_published=True, reference_restarts=10)
        return protocol

    @property
    def passes(self) -> int:
        """Forward passes over all images: one backward pass less for each time that PGD or the joint attack runs."""
        elsewhere = self.average + self.worst + 2 * sum(s != 0 or self.as_published for s in self.positions)
        return (self.reference_restarts + elsewhere) * (self.steps + 1)


@dataclass(frozen=True, slots=True, eq=False)
class RobustLoss:
    """Robust loss of each example.

    Parameters
    ----------
    losses
        Cross-entropy on the attacked images, float32, shape (n,).
    correct
        Whether they are still told right, uint8, shape (n,).
    """

    losses: NDArray[np.float32]
    correct: NDArray[np.uint8]


def extract(  # noqa: PLR0917 - the register calls every lens so
    model: LoadedModel,
    entry: Entry,
    images: Images | None,
    settings: Settings,
    group: WritableGroup,
    progress: Callable[[int, int], None],
) -> None:
    """Measure the robust loss around a model's weights.

    Parameters
    ----------
    model
        Must run; its weights are perturbed in place and put back exactly.
    entry
        Gives `eps` and `threat_model`.
    images
        The first `settings.images` are taken; where that is None 1000, or 32 when `fast`.
    settings
        `fast`, `as_published`, `bf16`, `seed`.
    group
        Filled with `labels`, `reference_loss`, `reference_correct` (n,); `average_loss`, `average_correct` (T, n);
        `worst_loss`, `worst_correct` (R, n); `landscape_positions` (s,), `landscape_random` and
        `landscape_adversarial` (s, n). Under bf16 also `reference_loss_float32` (n,).
    progress
        Called with forward passes done and in all.

    Raises
    ------
    InputError
        The images do not suit the model.
    LensSkipped
        There are only weights, the catalog gives no ball, or there is nothing to perturb.
    """
    threat = threat_of(entry, "flatness")
    protocol = Protocol.of(settings)
    with running(model, images, settings, lens="flatness", n_images=protocol.images, progress=progress) as runner:
        chosen = perturbed_parameters(runner.classifier, by_name=protocol.as_published)
        if not chosen:
            raise LensSkipped(f"{entry.model_id} has no parameters outside normalisation layers: nothing to perturb")
        runner.expect(protocol.passes + (protocol.steps + 1 if settings.bf16 else 0))
        group.write("labels", runner.images.labels)
        _measure(runner, list(chosen.values()), threat, protocol, seed=settings.seed, group=group)
        group.set_attributes(
            eps=threat.ball.eps,
            norm=threat.ball.norm,
            step=threat.step,
            steps=protocol.steps,
            reference_restarts=protocol.reference_restarts,
            restarts=1,
            average=protocol.average,
            average_radius=AVERAGE_RADIUS,
            worst=protocol.worst,
            worst_radius=WORST_RADIUS,
            weight_step=WEIGHT_STEP,
            adversarial_length=ADVERSARIAL_LENGTH,
            perturbed_tensors=len(chosen),
            seed=settings.seed,
            fast=settings.fast,
            as_published=settings.as_published,
            bf16=settings.bf16,
            forward_passes=runner.passes,
            images=len(runner.images),
            data=runner.images.name,
            data_sha256=runner.images.digest,
        )


def _measure(
    runner: Running,
    parameters: list[nn.Parameter],
    threat: Threat,
    protocol: Protocol,
    *,
    seed: int,
    group: WritableGroup,
) -> None:
    def measure(weights_seed: int = 0, restarts: int = 1) -> RobustLoss:
        own = weights_seed if protocol.as_published else 0
        return robust_loss(runner, threat, steps=protocol.steps, restarts=restarts, seed=seed + own)

    reference = measure(restarts=protocol.reference_restarts)
    group.write("reference_loss", reference.losses)
    group.write("reference_correct", reference.correct)
    if runner.bf16:
        runner.bf16 = False
        group.write("reference_loss_float32", measure(restarts=1).losses)
        runner.bf16 = True
    with Weights(parameters, radius=AVERAGE_RADIUS) as weights:
        average = []
        for t in range(protocol.average):
            weights.scatter(_generator(seed, 1, t), on_sphere=True)
            average.append(measure(weights_seed=1 + t))
        _write(group, "average", average)
    with Weights(parameters, radius=WORST_RADIUS, step=WEIGHT_STEP) as weights:
        worst = []
        for r in range(protocol.worst):
            worst.append(joint_attack(runner, weights, threat, protocol, seed=seed, restart=r))
            if r == 0:  # its direction is followed at once, so that none has to be kept through the other restarts
                directions = weights.directions(ADVERSARIAL_LENGTH)
                adversarial = list(_landscape(weights, directions, protocol, reference, measure))
                del directions
        _write(group, "worst", worst)
    with Weights(parameters, radius=AVERAGE_RADIUS) as weights:
        weights.scatter(_generator(seed, 3, 0), on_sphere=True)
        directions = weights.directions(AVERAGE_RADIUS)
        random = list(_landscape(weights, directions, protocol, reference, measure))
    group.write("landscape_positions", np.array(protocol.positions, dtype=np.float32))
    group.write("landscape_random", np.stack([place.losses for place in random]))
    group.write("landscape_adversarial", np.stack([place.losses for place in adversarial]))


def robust_loss(runner: Running, threat: Threat, *, steps: int, restarts: int = 1, seed: int = 0) -> RobustLoss:
    """Attack all images by PGD where the weights now are; the random starts depend on the seed alone."""
    losses, correct = [], []
    for batch in runner.batches():
        found = attack(
            runner, batch.pixels, batch.labels, ball=threat.ball, step=threat.step, steps=steps, rule=threat.rule,
            restarts=restarts, seed=seed, first=batch.rows.start,
        )  # fmt: skip
        losses.append(found.losses)
        correct.append(~found.fooled)
    return _robust_loss(torch.cat(losses), torch.cat(correct))


def joint_attack(
    runner: Running, weights: Weights, threat: Threat, protocol: Protocol, *, seed: int, restart: int
) -> RobustLoss:
    """Ascend the mean loss in every image and in the weights together [Stutz2021]_, eqs 4 and 5.

    Parameters
    ----------
    runner
        The model and its images.
    weights
        Entered; left at the last iterate.
    threat
        Ball and step of the images.
    protocol
        `steps`; `as_published` keeps the last iterate instead of the one with the highest mean loss.
    seed, restart
        The images' random starts are those of PGD at the weights themselves; restart 0 begins at the weights, every
        other one at random in their ball.

    Returns
    -------
        Losses at the iterate that is kept. Gradients of the whole set are gathered before anything moves, so that
        the result does not depend on the batches.
    """
    n = len(runner.images)
    centre = torch.cat([batch.pixels for batch in runner.batches()])
    parts = [(batch.rows, batch.labels) for batch in runner.batches()]
    own = seed + 1 + restart if protocol.as_published else seed
    start = centre + random_points(threat.ball, centre.shape, seed=own).to(centre)
    points = Points(centre, start, ball=threat.ball, step=threat.step, rule=threat.rule, box=(0.0, 1.0))
    weights.reset()
    if restart > 0 or protocol.as_published:
        weights.scatter(_generator(seed, 2, restart), on_sphere=False)
    weights.track()
    losses = torch.zeros(n, device=centre.device)
    correct = torch.zeros(n, dtype=torch.bool, device=centre.device)
    best: list[tuple[float, RobustLoss]] = []

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
        mean = losses.double().mean().item()
        if not best or protocol.as_published or mean > best[0][0] or np.isnan(best[0][0]):
            best[:] = [(mean, _robust_loss(losses, correct))]
        return False

    ascend(score, [weights, points], steps=protocol.steps)
    return best[0][1]


def _landscape(
    weights: Weights,
    directions: list[Tensor],
    protocol: Protocol,
    reference: RobustLoss,
    measure: Callable[[], RobustLoss],
) -> Iterator[RobustLoss]:
    """Robust loss at w + s · ν̂ for every position s; at 0 it is the reference, where that had as many restarts."""
    weights.freeze()
    for s in protocol.positions:
        if s == 0 and not protocol.as_published:
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
