"""A seeded part of the hostile collection: nothing runs, nothing is written elsewhere, all is foreseen and in budget.

`make hostile` runs all of it.
"""

from __future__ import annotations

import pytest

from hostile.run import offences

pytestmark = pytest.mark.timeout(1800)


def test_checkpoints_do_no_harm() -> None:
    assert not offences(["inspect"], sample=8)
