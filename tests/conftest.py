"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from report.synthetic import score_rows, write_dumps, write_pool, write_run, zoo

# the same examples on every machine, however busy it is; HYPOTHESIS_PROFILE=default looks for new ones
hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# a shell starts what it runs in the background with Ctrl-C ignored, `nohup` ignores a closed terminal, and processes
# inherit that: the tests send both
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the trained networks and reference scores are not here ({folder})")
    return folder


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of trained CIFAR-10 networks and images."""
    return _shared("realdata")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of reference scores, computed by independent code in float64."""
    return _shared("reference")


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
