"""The stopping rules on scripted scores: a jump and a fall are found; a slow rise, a plateau and noise are neither."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import nn

from filterlens.errors import InputError
from filterlens.training.early_stopping import CollapseStopping, EarlyStopping, Stopping

LABELS = torch.arange(250) % 10
CHANCE_FLOOR = 0.1 + 3.5 * math.sqrt(0.1 * 0.9 / 250)


def play(stopping: Stopping, scores: list[float]) -> tuple[list[bool], nn.Linear]:
    """Epoch i leaves its number in the weights."""
    model = nn.Linear(1, 1)
    answers = []
    for epoch, score in enumerate(scores):
        with torch.no_grad():
            model.weight.fill_(epoch)
        answers.append(stopping.step(score, model))
    return answers, model


def test_a_jump_stops_training_and_gives_back_the_weights_before_it() -> None:
    stopping = EarlyStopping(noise=0.01)
    answers, model = play(stopping, [0.50, 0.46, 0.44, 0.43, 0.43, 0.42, 0.71, 0.70])
    assert answers.index(True) == 6
    assert stopping.best_epoch == 5
    stopping.restore(model)
    assert model.get_parameter("weight").item() == 5


@pytest.mark.parametrize("slope", [0.0045, 0.02, -0.03])
def test_a_steady_slope_is_let_through_however_high_it_leads(slope: float) -> None:
    # 0.159 → 0.208 over 12 epochs is a PGD training that never collapsed; the rule before stopped it at epoch 4
    noise = random.Random(0)
    scores = [0.159 + slope * epoch + noise.gauss(0, 0.002) for epoch in range(30)]
    answers, _ = play(EarlyStopping(noise=0.005), scores)
    assert not any(answers)


def test_a_jump_on_top_of_a_steady_slope_is_found() -> None:
    scores = [0.2 + 0.01 * epoch + (0.15 if epoch >= 10 else 0.0) for epoch in range(12)]
    answers, _ = play(EarlyStopping(noise=0.01), scores)
    assert answers.index(True) == 10


def test_a_change_over_several_epochs_sums_up_to_an_alarm_and_none_of_its_weights_is_kept() -> None:
    scores = [0.3] * 8 + [0.325, 0.35, 0.375, 0.4]
    stopping = EarlyStopping(noise=0.01)
    answers, _ = play(stopping, scores)
    assert answers.index(True) == 9
    assert stopping.best_epoch == 7


def test_the_collapse_of_a_cifar_resnet_32_is_found() -> None:
    # measured: relative aliasing of its first downsampling layer, 0.236 → 0.269 in the epoch of the collapse;
    # the rest is scripted
    scores = [0.246, 0.241, 0.239, 0.237, 0.236, 0.236, 0.269, 0.268]
    answers, _ = play(EarlyStopping(noise=0.005), scores)
    assert answers.index(True) == 6


def test_a_single_high_epoch_within_the_noise_is_forgiven() -> None:
    stopping = EarlyStopping(noise=0.02)
    answers, _ = play(stopping, [0.2, 0.21, 0.2, 0.21, 0.2, 0.26, 0.2, 0.2, 0.2])
    assert not any(answers)
    assert stopping.best_epoch == 8


def test_the_first_epochs_only_set_the_reference() -> None:
    answers, _ = play(EarlyStopping(noise=0.01, warmup=3), [0.1, 0.5, 0.9, 0.5])
    assert not any(answers)


def test_a_score_that_is_not_finite_stops_and_its_weights_are_not_kept() -> None:
    for wrong in (math.nan, math.inf):
        stopping = EarlyStopping()
        answers, _ = play(stopping, [0.2, wrong])
        assert answers == [False, True]
        assert stopping.best_epoch == 0


def test_kept_weights_do_not_follow_the_model() -> None:
    stopping, model = EarlyStopping(), nn.BatchNorm2d(2)
    stopping.step(0.2, model)
    with torch.no_grad():
        model.weight.add_(1)
        model.get_buffer("running_mean").add_(1)
    assert stopping.best_state["weight"].tolist() == [1, 1]
    assert stopping.best_state["running_mean"].tolist() == [0, 0]


def test_nothing_to_give_back_is_an_error() -> None:
    stopping = EarlyStopping()
    stopping.step(math.nan, nn.Linear(1, 1))
    with pytest.raises(InputError, match="no weights to give back"):
        stopping.restore(nn.Linear(1, 1))


@pytest.mark.parametrize(
    "wrong", [{"threshold": 0}, {"drift": -1}, {"noise": math.nan}, {"noise": 0}, {"warmup": 0}, {"history": 2}]
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="EarlyStopping takes threshold > 0"):
        EarlyStopping(**wrong)  # type: ignore[arg-type]


def errors(accuracies: list[float]) -> list[float]:
    return [1 - accuracy for accuracy in accuracies]


def test_a_lasting_fall_of_accuracy_stops_in_its_second_epoch_and_gives_the_best_weights_back() -> None:
    stopping = CollapseStopping(LABELS)
    answers, model = play(stopping, errors([0.1, 0.2, 0.35, 0.4, 0.38, 0.1, 0.08, 0.05]))
    assert answers.index(True) == 6
    stopping.restore(model)
    assert model.weight.item() == stopping.best_epoch == 3


def test_a_fall_that_is_over_in_the_next_epoch_is_forgiven() -> None:
    answers, _ = play(CollapseStopping(LABELS), errors([0.1, 0.4, 0.1, 0.4, 0.1, 0.4]))
    assert not any(answers)
    answers, _ = play(CollapseStopping(LABELS, patience=1), errors([0.1, 0.4, 0.1, 0.4]))
    assert answers.index(True) == 2


def measured(accuracy: float, noise: random.Random) -> float:
    return sum(noise.random() < accuracy for _ in range(len(LABELS))) / len(LABELS)


def test_guessing_is_hardly_ever_stopped_thanks_to_the_floor() -> None:
    noise = random.Random(0)
    trainings = [errors([measured(0.1, noise) for _ in range(30)]) for _ in range(100)]

    def stopped(floor: float | None = None) -> int:
        rules = [CollapseStopping(LABELS) for _ in trainings]
        for rule in rules:
            rule.floor = rule.floor if floor is None else floor
        return sum(any(play(rule, scores)[0]) for rule, scores in zip(rules, trainings, strict=True))

    assert stopped() <= 5
    assert stopped(floor=0.0) >= 20


@pytest.mark.parametrize("seed", range(10))
def test_a_noisy_plateau_is_let_through_and_its_collapse_to_chance_is_not(seed: int) -> None:
    noise = random.Random(seed)
    plateau = [measured(min(0.4, 0.1 + 0.05 * epoch), noise) for epoch in range(50)]
    assert not any(play(CollapseStopping(LABELS), errors(plateau))[0])
    collapse = [*plateau, *(measured(0.1, noise) for _ in range(2))]
    assert play(CollapseStopping(LABELS), errors(collapse))[0].index(True) == 51


def test_the_rule_waits_for_an_accuracy_that_is_not_chance() -> None:
    for best, stops in ((CHANCE_FLOOR - 1e-6, False), (CHANCE_FLOOR + 1e-6, True)):
        answers, _ = play(CollapseStopping(LABELS), errors([best, 0.0, 0.0]))
        assert answers == [False, False, stops]


def test_an_error_that_is_not_finite_stops_and_its_weights_are_not_kept() -> None:
    stopping = CollapseStopping(LABELS)
    answers, _ = play(stopping, [0.5, math.nan])
    assert answers == [False, True]
    assert stopping.should_stop
    assert stopping.best_epoch == 0


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 1}, {"share": math.nan}, {"patience": 0}])
def test_a_share_or_patience_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="CollapseStopping takes 0 < share < 1"):
        CollapseStopping(LABELS, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [torch.zeros(50, dtype=torch.long), torch.tensor([0, 1])])
def test_a_batch_on_which_nothing_is_above_chance_is_refused(labels: torch.Tensor) -> None:
    with pytest.raises(InputError, match="no accuracy on this batch is above chance"):
        CollapseStopping(labels)
    with pytest.raises(InputError, match="at least one label"):
        CollapseStopping(labels[:0])
