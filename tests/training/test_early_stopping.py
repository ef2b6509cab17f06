"""The stopping rule on scripted scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from filterlens.errors import InputError
from filterlens.training.early_stopping import AliasingEarlyStopping


def play(stopping: AliasingEarlyStopping, scores: list[float]) -> tuple[list[bool], nn.Module]:
    """Epoch i leaves its number in the weights."""
    model = nn.Linear(1, 1)
    answers = []
    for epoch, score in enumerate(scores):
        with torch.no_grad():
            model.weight.fill_(epoch)
        answers.append(stopping.step(score, model))
    return answers, model


COLLAPSE = [0.300, 0.262, 0.248, 0.240, 0.236, 0.237, 0.269, 0.268, 0.270]


def test_a_collapse_stops_training_and_gives_back_the_weights_before_it() -> None:
    stopping = AliasingEarlyStopping(tolerance=0.05, smoothing=3, patience=2)
    answers, model = play(stopping, COLLAPSE)
    assert answers.index(True) == 7
    assert stopping.best_epoch == 5
    stopping.restore(model)
    assert model.weight.item() == 5


def test_a_falling_score_never_stops() -> None:
    stopping = AliasingEarlyStopping(smoothing=1)
    answers, _ = play(stopping, [1 / (1 + i) for i in range(30)])
    assert not any(answers)
    assert stopping.best_epoch == 29


def test_one_bad_epoch_is_forgiven_when_patience_allows() -> None:
    answers, _ = play(AliasingEarlyStopping(patience=2, smoothing=1), [0.2, 0.3, 0.2, 0.3, 0.2])
    assert not any(answers)
    answers, _ = play(AliasingEarlyStopping(patience=1, smoothing=1), [0.2, 0.3])
    assert answers == [False, True]


def test_smoothing_keeps_one_low_epoch_from_setting_the_reference() -> None:
    scores = [0.30, 0.30, 0.24, 0.30, 0.30]
    assert play(AliasingEarlyStopping(smoothing=1, patience=2, tolerance=0.1), scores)[0][-1]
    assert not play(AliasingEarlyStopping(smoothing=3, patience=2, tolerance=0.1), scores)[0][-1]


def test_tolerance_is_relative() -> None:
    for scale in (1e-6, 1.0, 1e6):
        stopping = AliasingEarlyStopping(tolerance=0.1, smoothing=1, patience=1)
        assert play(stopping, [scale, 1.09 * scale])[0] == [False, False]
        assert stopping.threshold == pytest.approx(1.1 * scale)
        assert stopping.step(1.11 * scale, nn.Linear(1, 1))


def test_nan_counts_as_above_and_never_sets_the_reference() -> None:
    stopping = AliasingEarlyStopping(smoothing=1, patience=2)
    answers, _ = play(stopping, [0.2, math.nan, math.inf])
    assert answers == [False, False, True]
    assert (stopping.best_epoch, stopping.lowest) == (0, 0.2)


def test_warmup_epochs_neither_count_nor_set_the_reference() -> None:
    stopping = AliasingEarlyStopping(smoothing=1, patience=1, warmup=2)
    answers, _ = play(stopping, [0.01, 0.01, 0.3, 0.3])
    assert not any(answers)
    assert stopping.lowest == 0.3


def test_kept_weights_do_not_follow_the_model() -> None:
    stopping, model = AliasingEarlyStopping(), nn.BatchNorm2d(2)
    stopping.step(0.2, model)
    with torch.no_grad():
        model.weight.add_(1)
        model.running_mean.add_(1)  # type: ignore[union-attr, operator]
    assert stopping.best_state["weight"].tolist() == [1, 1]
    assert stopping.best_state["running_mean"].tolist() == [0, 0]


def test_nothing_to_give_back_is_an_error() -> None:
    stopping = AliasingEarlyStopping()
    stopping.step(math.nan, nn.Linear(1, 1))
    with pytest.raises(InputError, match="no weights to give back"):
        stopping.restore(nn.Linear(1, 1))


@pytest.mark.parametrize("wrong", [{"tolerance": -0.1}, {"tolerance": math.nan}, {"smoothing": 0}, {"patience": 0}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="AliasingEarlyStopping takes tolerance >= 0"):
        AliasingEarlyStopping(**wrong)  # type: ignore[arg-type]
