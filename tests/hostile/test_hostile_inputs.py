"""A seeded part of the hostile collection: images, fonts, manifolds, catalogs and servers."""

from __future__ import annotations

import pytest

from hostile.fuzz import fuzz
from hostile.run import run
from hostile.seeds import CONTAINERS

pytestmark = pytest.mark.timeout(1200)


def test_images_fonts_manifolds_catalogs_and_servers_do_no_harm() -> None:
    results, wrong = run(["data", "manifold", "catalog", "server"], sample=8, seed=0)
    assert not {f"{result.way} {result.id}": result.flags for result in results if result.flags}
    assert not wrong


@pytest.mark.parametrize("name", ["zip", "legacy", "safetensors", "onnx", "npz", "cifar", "catalog", "ledger"])
def test_mutated_files_meet_errors_of_ours_only(name: str, tmp_path) -> None:
    counts = fuzz([name], 150, tmp_path)[name]
    assert counts.pop("cases") == 150
    assert not {what: n for what, n in counts.items() if not what.startswith(("ok", "refused"))}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTAINERS)
def test_many_mutated_files_meet_errors_of_ours_only(name: str, tmp_path) -> None:
    counts = fuzz([name], 3000, tmp_path, start=1_000_000)[name]
    assert counts.pop("cases") == 3000
    assert not {what: n for what, n in counts.items() if not what.startswith(("ok", "refused"))}
