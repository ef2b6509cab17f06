"""A seeded part of the hostile collection: runs that were sent, and data sets of filters."""

from __future__ import annotations

import pytest

from hostile.run import offences

pytestmark = pytest.mark.timeout(1800)


def test_runs_that_were_sent_and_data_sets_of_filters_do_no_harm() -> None:
    assert not offences(["analyze", "filterdb"], sample=20)
