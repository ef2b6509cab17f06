"""A seeded part of the hostile collection: nothing runs, nothing is written elsewhere, all is foreseen and in budget.

`make hostile` runs all of it.
"""

from __future__ import annotations

import pytest

from hostile.run import run

pytestmark = pytest.mark.timeout(1200)


def _held(ways: list[str], sample: int, seed: int) -> None:
    results, wrong = run(ways, sample=sample, seed=seed)
    found = {f"{result.way} {result.id}": result.flags for result in results if result.flags}
    assert results
    assert not found
    assert not wrong


def test_checkpoints_do_no_harm() -> None:
    _held(["inspect"], 12, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_more_checkpoints_do_no_harm(seed: int) -> None:
    _held(["inspect", "compare", "check", "audit", "folder"], 25, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_more_of_everything_else_does_no_harm(seed: int) -> None:
    _held(["data", "manifold", "catalog", "server", "filterdb", "analyze", "report", "jobs"], 15, seed=seed)
