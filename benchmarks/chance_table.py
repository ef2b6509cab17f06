"""Simulate the variance entropy of random filters: prints `filterlens/lenses/filters/random_entropy.csv`.

Run: `python benchmarks/chance_table.py [K ...]` for filters of K weights, all shipped ones by default (some
minutes); those of more than 49 weights with an eighth of the trials, as their entropy varies less.
"""

from __future__ import annotations

import sys

import torch

SIZES = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 4096)
KERNELS = (4, 9, 16, 25, 49, 64, 196, 256)
TRIALS = 8000
BATCH = 1 << 22  # random numbers at once


def entropies(n: int, k: int, trials: int, seed: int = 0) -> torch.Tensor:
    """Variance entropy of n scaled i.i.d. normal filters with k weights, `trials` times."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    step = max(1, BATCH // (n * k))
    for start in range(0, trials, step):
        filters = torch.randn(min(step, trials - start), n, k, generator=generator, dtype=torch.float64)
        filters /= filters.abs().amax(dim=2, keepdim=True)
        centred = filters - filters.mean(dim=1, keepdim=True)
        p = torch.linalg.eigvalsh(centred.transpose(1, 2) @ centred).clamp(min=0)
        p /= p.sum(dim=1, keepdim=True)
        found.append(-torch.xlogy(p, p).sum(dim=1) / torch.log(torch.tensor(10.0)))
    return torch.cat(found)


def main() -> None:
    print("k,n,mean,deviation")
    for k in map(int, sys.argv[1:] or KERNELS):
        trials = TRIALS if k <= 49 else TRIALS // 8
        for n in SIZES:
            h = entropies(n, k, trials if n <= 512 else max(250, trials // 8))
            print(f"{k},{n},{float(h.mean()):.6g},{float(h.std()):.4g}", flush=True)


if __name__ == "__main__":
    main()
