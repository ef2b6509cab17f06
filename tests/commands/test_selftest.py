"""The known answers hold here, and an answer that is off is said to be off."""

from __future__ import annotations

from filterlens.commands.selftest import KnownAnswer, selftest


def test_every_known_answer_holds() -> None:
    assert not [answer for answer in selftest() if not answer.passed]


def test_an_answer_that_is_off_does_not_hold() -> None:
    assert not KnownAnswer("off", 1.0, 2.0, 0.5).passed
    assert not KnownAnswer("undefined", float("nan"), 2.0, 0.5).passed
