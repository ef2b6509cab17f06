"""The plugin of pytest: `assert_scores` for tests of those who install filterlens. It loads nothing before use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

__all__ = ["assert_scores"]


@pytest.fixture(scope="session")
def assert_scores() -> Callable[..., None]:
    """Fail where a model's scores are not within bounds: `assert_scores(model, sparsity="<0.3")`."""
    import filterlens

    return filterlens.assert_scores
