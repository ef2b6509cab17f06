"""The flatness lens's extractor: robust loss of each example where the weights are perturbed [Stutz2021]_."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from filterlens.attacks import Weights
from filterlens.attacks.evaluation import Running, Threat, running, threat_of
from filterlens.attacks.joint import ExampleLosses, clean_loss, generator_of, joint_attack, robust_loss, weight_attack
from filterlens.attacks.parameters import perturbed_parameters
from filterlens.dumps import WritableGroup
from filterlens.errors import LensSkipped
from filterlens.lens import ExtractContext
from filterlens.lenses.flatness.hessian import measure_curvature
from filterlens.lenses.flatness.options import FlatnessOptions
from filterlens.lenses.flatness.plane import measure_plane
from filterlens.lenses.flatness.radii import ADVERSARIAL_LENGTH, AVERAGE_RADIUS, WEIGHT_STEP, WORST_RADIUS
from filterlens.lenses.flatness.train_images import measure_train_images

__all__ = ["extract"]


def extract(context: ExtractContext[FlatnessOptions]) -> None:
    """Measure the robust loss around a model's weights.

    Parameters
    ----------
    context
        The model must run; its weights are perturbed in place and put back exactly. The catalog row gives `eps` and
        `threat_model`. The group is filled with `labels`, `reference_loss`, `reference_correct` (n,);
        `average_loss`, `average_correct` (T, n); `worst_case_loss`, `worst_case_correct` (R, n);
        `landscape_positions` (s,), `landscape_random` and `landscape_adversarial` (s, n). Under bf16 also
        `reference_loss_float32` (n,). As the options ask for it: `hessian_extremes` (2,), highest and lowest
        eigenvalue, their errors `hessian_errors` (2,), and `hessian_traces` (curvature,); `train_loss` and
        `train_correct` (m,) on m training images; `clean_loss` (n,), `average_clean_loss` (T, n) and
        `worst_case_clean_loss` (R, n) without attacks on images; `radii` (k,), `radii_average_loss` (k, T, n) and
        `radii_worst_case_loss` (k, R, n); `plane_positions` (p,) and `plane_loss` (p, p, n).

    Raises
    ------
    InputError
        The images do not suit the model, or training images are those of the test.
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
        around = _Around(runner, list(chosen.values()), threat, options, settings.seed)
        around.measure(group)
        if options.clean_flatness:
            around.measure_clean(group)
        if options.radii:
            around.measure_radii(group)
        if options.plane > 0:
            measure_plane(around.parameters, options, group, seed=settings.seed, measure=around.robust_loss)
        if options.curvature > 0:
            measure_curvature(runner, around.parameters, threat, options, seed=settings.seed, group=group)
        if options.train_data:
            measure_train_images(runner, context, threat)
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


@dataclass(frozen=True, slots=True)
class _Around:
    """What is measured around one model's weights: the same perturbations and random starts everywhere."""

    runner: Running
    parameters: list[nn.Parameter]
    threat: Threat
    options: FlatnessOptions
    seed: int

    def robust_loss(self, weights_seed: int = 0, restarts: int = 1) -> ExampleLosses:
        own = weights_seed if self.options.as_published else 0
        return robust_loss(
            self.runner, self.threat, steps=self.options.steps, restarts=restarts, seed=self.seed + own
        )  # fmt: skip

    def measure(self, group: WritableGroup) -> None:
        """Measure the reference, both cases, and the landscape along two directions."""
        runner, options = self.runner, self.options
        reference = self.robust_loss(restarts=options.reference_restarts)
        group.write("reference_loss", reference.losses)
        group.write("reference_correct", reference.correct)
        if runner.bf16:
            runner.bf16 = False
            group.write("reference_loss_float32", self.robust_loss().losses)
            runner.bf16 = True
        average = self._average(self.robust_loss)
        _write(group, "average", average)
        worst, adversarial = [], []
        with Weights(self.parameters, radius=WORST_RADIUS, step=WEIGHT_STEP) as weights:
            for r in range(options.worst):
                worst.append(self._joint(weights, r))
                if r == 0:  # its direction is followed at once, so that none has to be kept through other restarts
                    directions = weights.directions(ADVERSARIAL_LENGTH)
                    adversarial = list(self._landscape(weights, directions, {0.0: reference}))
                    del directions
        _write(group, "worst_case", worst)
        with Weights(self.parameters, radius=AVERAGE_RADIUS) as weights:
            weights.random_start(generator_of(self.seed, 1, 0), on_sphere=True)  # the first of the average case
            directions = weights.directions(AVERAGE_RADIUS)
            random = list(self._landscape(weights, directions, {0.0: reference, 1.0: average[0]}))
        group.write("landscape_positions", np.array(options.positions, dtype=np.float32))
        group.write("landscape_random", np.stack([place.losses for place in random]))
        group.write("landscape_adversarial", np.stack([place.losses for place in adversarial]))

    def measure_clean(self, group: WritableGroup) -> None:
        """Measure both cases of the clean loss, under the random perturbations of the robust loss."""
        group.write("clean_loss", clean_loss(self.runner).losses)
        average = self._average(lambda _seed: clean_loss(self.runner))
        group.write("average_clean_loss", np.stack([one.losses for one in average]))
        steps, published = self.options.steps, self.options.as_published
        with Weights(self.parameters, radius=WORST_RADIUS, step=WEIGHT_STEP) as weights:
            worst = [
                weight_attack(self.runner, weights, steps=steps, seed=self.seed, restart=r, as_published=published)
                for r in range(self.options.worst)
            ]
        group.write("worst_case_clean_loss", np.stack([one.losses for one in worst]))

    def measure_radii(self, group: WritableGroup) -> None:
        """Measure both cases at multiples of their ξ."""
        average, worst = [], []
        for times in self.options.radii:
            average.append(np.stack([one.losses for one in self._average(self.robust_loss, times)]))
            with Weights(self.parameters, radius=times * WORST_RADIUS, step=WEIGHT_STEP) as weights:
                worst.append(np.stack([self._joint(weights, r).losses for r in range(self.options.worst)]))
        group.write("radii", np.array(self.options.radii))
        group.write("radii_average_loss", np.stack(average))
        group.write("radii_worst_case_loss", np.stack(worst))

    def _average(self, measure: Callable[[int], ExampleLosses], times: float = 1.0) -> list[ExampleLosses]:
        """Measure at every random perturbation of `times` the paper's radius."""
        found = []
        with Weights(self.parameters, radius=times * AVERAGE_RADIUS) as weights:
            for t in range(self.options.average):
                weights.random_start(generator_of(self.seed, 1, t), on_sphere=True)
                found.append(measure(1 + t))
        return found

    def _joint(self, weights: Weights, restart: int) -> ExampleLosses:
        """Measure where a restart of the joint attack ends."""
        steps, published = self.options.steps, self.options.as_published
        last = joint_attack(
            self.runner, weights, self.threat, steps=steps, seed=self.seed, restart=restart, as_published=published
        )  # fmt: skip
        weights.freeze()
        return last if published else self.robust_loss()

    def _landscape(
        self, weights: Weights, directions: list[Tensor], known: dict[float, ExampleLosses]
    ) -> Iterator[ExampleLosses]:
        """Robust loss at w + s · ν̂ for every position s; as published, what is known elsewhere had other restarts."""
        for s in self.options.positions:
            if s in known and not self.options.as_published:
                yield known[s]
                continue
            weights.shift(directions, s)
            yield self.robust_loss()
        weights.reset()


def _write(group: WritableGroup, name: str, found: list[ExampleLosses]) -> None:
    group.write(f"{name}_loss", np.stack([one.losses for one in found]))
    group.write(f"{name}_correct", np.stack([one.correct for one in found]))
