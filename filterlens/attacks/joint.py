"""Losses of every example where the weights now are, and attacks on weights [Stutz2021]_."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.attacks import Perturbed, Weights, ascend, attack, cross_entropy, random_points
from filterlens.attacks.evaluation import Running, Threat

__all__ = ["ExampleLosses", "clean_loss", "generator_of", "joint_attack", "robust_loss", "weight_attack"]


@dataclass(frozen=True, slots=True, eq=False)
class ExampleLosses:
    """Loss of each example, attacked or clean.

    Parameters
    ----------
    losses
        Cross-entropy, float32, shape (n,).
    correct
        Whether they are classified correctly, uint8, shape (n,).
    """

    losses: NDArray[np.float32]
    correct: NDArray[np.uint8]


def robust_loss(runner: Running, threat: Threat, *, steps: int, restarts: int = 1, seed: int = 0) -> ExampleLosses:
    """Attack all images by PGD where the weights now are; the random starts depend on the seed alone."""
    losses, correct = [], []
    for batch in runner.batches():
        found = attack(
            runner, batch.pixels, batch.labels, ball=threat.ball, step=threat.step, steps=steps, rule=threat.rule,
            restarts=restarts, seed=seed, first=batch.rows.start,
        )  # fmt: skip
        losses.append(found.losses)
        correct.append(~found.success)
    return _example_losses(losses, correct)


def clean_loss(runner: Running) -> ExampleLosses:
    """Losses on the images as they are, where the weights now are."""
    losses, correct = [], []
    with torch.no_grad():
        for batch in runner.batches():
            logits = runner(batch.pixels)
            losses.append(cross_entropy(logits, batch.labels))
            correct.append(logits.argmax(dim=1) == batch.labels)
    return _example_losses(losses, correct)


def joint_attack(
    runner: Running,
    weights: Weights,
    threat: Threat,
    *,
    steps: int,
    seed: int,
    restart: int,
    as_published: bool = False,
) -> ExampleLosses:
    """Move the weights to where the robust loss is high: ascend the mean loss in them and in every image together.

    Parameters
    ----------
    runner
        The model and its images.
    weights
        Entered; left at the last iterate, w + ν.
    threat
        Ball and step of the images.
    steps
        Iterations.
    seed, restart
        The images' random starts are those of PGD at the weights themselves; restart 0 begins at the weights, every
        other one at random in their ball.
    as_published
        Every restart starts at random, images and weights.

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
    centre = torch.cat([batch.pixels for batch in runner.batches()])
    own = seed + 1 + restart if as_published else seed
    start = centre + random_points(threat.ball, centre.shape, seed=own).to(centre)
    points = Perturbed(centre, start, ball=threat.ball, step=threat.step, rule=threat.rule, box=(0.0, 1.0))
    _start(weights, seed=seed, restart=restart, at_random=restart > 0 or as_published)
    return _ascend(runner, weights, points, steps=steps)


def weight_attack(
    runner: Running, weights: Weights, *, steps: int, seed: int, restart: int, as_published: bool = False
) -> ExampleLosses:
    """Move the weights to where the clean loss is high, as `joint_attack` does with images left as they are."""
    _start(weights, seed=seed, restart=restart, at_random=restart > 0 or as_published)
    return _ascend(runner, weights, None, steps=steps)


def generator_of(*seeds: int) -> torch.Generator:
    """Make the generator of one random perturbation of weights."""
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _start(weights: Weights, *, seed: int, restart: int, at_random: bool) -> None:
    weights.reset()
    if at_random:
        weights.random_start(generator_of(seed, 2, restart), on_sphere=False)
    weights.track()


def _ascend(runner: Running, weights: Weights, points: Perturbed | None, *, steps: int) -> ExampleLosses:
    """Ascend the mean loss in the weights, and in the images where these are perturbed."""
    n, parts = len(runner.images), list(runner.batches())
    losses = torch.zeros(n, device=runner.device)
    correct = torch.zeros(n, dtype=torch.bool, device=runner.device)

    def score(with_gradient: bool) -> bool:  # noqa: FBT001 - as `ascend` calls it
        for part in parts:
            value = part.pixels if points is None else points.value[part.rows].detach()
            value = value.requires_grad_(with_gradient and points is not None)
            with torch.set_grad_enabled(with_gradient):
                logits = runner(value)
                loss = cross_entropy(logits, part.labels)
            if with_gradient:
                torch.autograd.backward(loss.sum() / n)
                if points is not None and value.grad is not None:
                    points.gradient[part.rows] = value.grad
            losses[part.rows] = loss.detach()
            correct[part.rows] = logits.detach().argmax(dim=1) == part.labels
        return False

    ascend(score, [weights] if points is None else [weights, points], steps=steps)
    return _example_losses([losses], [correct])


def _example_losses(losses: Sequence[Tensor], correct: Sequence[Tensor]) -> ExampleLosses:
    return ExampleLosses(
        torch.cat(list(losses)).float().cpu().numpy().copy(), torch.cat(list(correct)).cpu().numpy().astype(np.uint8)
    )
