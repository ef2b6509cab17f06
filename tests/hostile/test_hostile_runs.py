"""A seeded part of the hostile collection: runs that were sent, data sets of filters, and catalogs."""

from __future__ import annotations

import pytest

from hostile.test_hostile_collection import _held

pytestmark = pytest.mark.timeout(1200)


def test_runs_that_were_sent_do_no_harm() -> None:
    _held(["analyze"], 40, seed=0)


def test_data_sets_of_filters_do_no_harm() -> None:
    _held(["filterdb"], 30, seed=0)
