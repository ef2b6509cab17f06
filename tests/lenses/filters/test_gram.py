from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from filterlens.lenses.filters.gram import mean_absolute_cosine


def exact(rows: torch.Tensor) -> float:
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True).clamp(min=1e-300)
    cosines = (unit @ unit.T).abs().fill_diagonal_(0)
    return float(cosines.sum()) / (len(rows) * (len(rows) - 1))


def rows_of(kind: str, n: int, d: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n + d)
    noise = torch.randn(n, d, generator=generator)
    common = torch.randn(1, d, generator=generator)
    match kind:
        case "random":
            return noise
        case "slightly correlated":
            return noise + 0.1 * common
        case "correlated":
            return noise + common
        case "strongly correlated":
            return 0.01 * noise + common
        case "equal":
            return common.repeat(n, 1)
        case "clusters":
            return 0.1 * noise + torch.randn(8, d, generator=generator)[torch.arange(n) % 8]
        case "low rank":
            return noise[:, :16] @ torch.randn(16, d, generator=generator)
        case "uneven rows":
            return noise * torch.logspace(0, -30, n)[:, None]
        case "some zero":
            noise[::3] = 0
            return noise
    raise AssertionError(kind)


KINDS = [
    "random",
    "slightly correlated",
    "correlated",
    "strongly correlated",
    "equal",
    "clusters",
    "low rank",
    "uneven rows",
    "some zero",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d"), [(2, 63), (129, 63), (520, 1152)])
def test_blocks_give_the_float64_mean(kind: str, n: int, d: int) -> None:
    rows = rows_of(kind, n, d)
    assert mean_absolute_cosine(rows) == pytest.approx(exact(rows), abs=1e-6)


@pytest.mark.parametrize("offset", [1, 2, 3, 4, 8])
def test_where_the_rows_lie_in_memory_changes_no_bit(offset: int) -> None:
    rows = rows_of("random", 520, 1152)
    moved = torch.empty(rows.numel() + offset)[offset:].view_as(rows).copy_(rows)
    assert mean_absolute_cosine(moved) == mean_absolute_cosine(rows)


IN_A_PROCESS = """
import torch
from filterlens.lenses.filters.gram import mean_absolute_cosine
torch.set_num_threads(1)
print("imported", flush=True)
input()
for n, d in [(16, 27), (129, 63), (256, 1152), (520, 1152), (1024, 576)]:
    print(mean_absolute_cosine(torch.randn(n, d, generator=torch.Generator().manual_seed(n))).hex())
"""
BUSY = "while True: sum(range(10_000))"


def test_processes_that_share_a_busy_machine_give_identical_bits() -> None:
    def start(code: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)

    workers = [start(IN_A_PROCESS) for _ in range(2)]
    load = [start(BUSY) for _ in range(3)]
    try:
        for worker in workers:
            assert worker.stdout
            assert worker.stdout.readline() == "imported\n"
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("\n")
            worker.stdin.flush()
        one, other = [worker.communicate(timeout=120)[0] for worker in workers]
    finally:
        for process in [*workers, *load]:
            process.kill()
            process.communicate()
    assert len(one.split()) == 5
    assert one == other
