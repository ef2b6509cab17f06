"""A seeded part of the hostile collection: nothing runs, nothing is written elsewhere, all is foreseen and in budget.

`make hostile` runs all of it.
"""

from __future__ import annotations

import pytest

from hostile.run import offences

pytestmark = pytest.mark.timeout(1800)


def test_checkpoints_do_no_harm() -> None:
    assert not offences(["inspect"], sample=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_more_checkpoints_do_no_harm(seed: int) -> None:
    assert not offences(["inspect", "compare", "check", "audit", "folder"], sample=25, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_more_of_everything_else_does_no_harm(seed: int) -> None:
    ways = ["data", "manifold", "catalog", "server", "filterdb", "analyze", "report", "jobs"]
    assert not offences(ways, sample=15, seed=seed)
