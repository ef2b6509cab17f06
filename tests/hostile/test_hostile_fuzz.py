"""Mutated files of every container: an answer, or an error of ours. `make fuzz N=1000000` runs many more."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostile.fuzz import fuzz, mutated
from hostile.seeds import CONTAINERS

pytestmark = pytest.mark.timeout(1800)


def _offences(name: str, cases: int, folder: Path, start: int = 0) -> dict[str, int]:
    counts = fuzz([name], cases, folder, start=start)[name]
    assert counts.pop("cases") == cases
    assert sum(count for what, count in counts.items() if not what.startswith("the seed is")) == cases
    return {
        what: count for what, count in counts.items() if not what.startswith(("ok", "refused", "the seed is seed slow"))
    }


def test_a_case_is_decided_by_its_number() -> None:
    seeds = [bytes(range(256)) * 8]
    assert mutated(seeds, 7, "zip") == mutated(seeds, 7, "zip")
    assert len({mutated(seeds, number, "zip") for number in range(50)}) > 40


@pytest.mark.parametrize("name", ["zip", "onnx", "dump", "cifar"])
def test_mutated_files_meet_errors_of_ours_only(name: str, tmp_path: Path) -> None:
    assert not _offences(name, 150, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTAINERS)
def test_many_mutated_files_meet_errors_of_ours_only(name: str, tmp_path: Path) -> None:
    assert not _offences(name, 300, tmp_path, start=1_000_000)
