"""A synthetic run's folder for every test of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from report.synthetic import score_rows, write_dumps, write_pool, write_run, zoo


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a run's folder: `make_run(n_robust=8, n_layers=12, …)`; `pictures` adds dumps and the pooled filters."""

    def make(
        n_robust: int = 8,
        n_layers: int = 12,
        *,
        datasets: tuple[str, ...] = ("cifar10", "cifar100"),
        shared: int = 2,
        pictures: bool = False,
    ) -> Path:
        models = zoo(n_robust, datasets=datasets, shared=shared)
        folder = write_run(tmp_path / "run", models, score_rows(models, n_layers))
        if pictures:
            write_dumps(folder, models)
            write_pool(folder, models)
        return folder

    return make
