"""Filter scores against torchconvquality on WideResNet-28-10 and -70-16, side by side in one run.

Run: `python benchmarks/filter_scores.py [--threads 2] [--repeats 3]`; `--memory` measures the peak above the weights;
`--distribution 50000000` pools as many synthetic filters and measures time and peak memory.

Layers of one shape cost the same, so that each shape is timed once, at its best of the repeats, and counted as often
as the network has it. Weights are random normal: values do not change the work.
"""

from __future__ import annotations

import argparse
import re
import resource
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from filterlens.lenses.filters.analyzer import score_layer
from filterlens.lenses.filters.layer import filter_maxima
from filterlens.lenses.filters.moments import Moments
from filterlens.lenses.filters.pooling import Filters, Member, pool_filters

Shape = tuple[int, int]


def wide_resnet(depth: int, width: int) -> Counter[Shape]:
    """Count the (c_out, c_in) of the 3x3 convolutions of a CIFAR WideResNet."""
    shapes: Counter[Shape] = Counter({(16, 3): 1})
    c_in = 16
    for c_out in (16 * width, 32 * width, 64 * width):
        shapes[c_out, c_in] += 1
        shapes[c_out, c_out] += 2 * ((depth - 4) // 6) - 1
        c_in = c_out
    return shapes


def best(work: Callable[[], object], repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        # At one thread its own clock tells the same on a busy machine as on a quiet one.
        clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
        start = clock()
        work()
        seconds.append(clock() - start)
    return min(seconds)


def half_gram(rows: torch.Tensor) -> None:
    """Multiply the triangular half of a Gram matrix in float32 and do nothing else."""
    for start in range(0, rows.shape[0], 128):
        torch.mm(rows[start:], rows[start : start + 128].T)


def layer_seconds(shape: Shape, repeats: int) -> dict[str, float]:
    import torchconvquality  # noqa: PLC0415 - it imports distutils, whose warning main() silences

    weight = torch.randn(*shape, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.02
    return {
        "filterlens": best(lambda: score_layer(weight), repeats),
        "half Gram": best(lambda: half_gram(weight.flatten(1)), repeats),
        "torchconvquality": best(lambda: torchconvquality.measure_conv_weight_quality(weight), repeats),
    }


def speed(repeats: int) -> None:
    print(f"{torch.get_num_threads()} threads\n")
    print("| network | torchconvquality | filterlens | ratio | to half the Gram products |")
    print("|---|---|---|---|---|")
    networks = {"WRN-28-10": wide_resnet(28, 10), "WRN-70-16": wide_resnet(70, 16)}
    seconds = {shape: layer_seconds(shape, repeats) for shape in sorted(sum(networks.values(), Counter()))}
    networks["both"] = sum(networks.values(), Counter())
    for name, shapes in networks.items():
        t: defaultdict[str, float] = defaultdict(float)
        for shape, count in shapes.items():
            for column, value in seconds[shape].items():
                t[column] += count * value
        peer = t["torchconvquality"]
        print(
            f"| {name} | {peer:.2f} s | {t['filterlens']:.2f} s | {peer / t['filterlens']:.1f}x "
            f"| {t['filterlens'] / t['half Gram']:.2f}x |"
        )


def peak_mib() -> float:
    """Peak memory of this process: `ru_maxrss` would be that of the process that started it, where that was larger."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) / 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory() -> None:
    weight = torch.randn(1024, 1024, 3, 3)
    score_layer(weight[:64, :64])
    before = peak_mib()
    score_layer(weight)
    print(f"peak above the weights, 1024 x 1024 x 3 x 3: {peak_mib() - before:.0f} MiB")


def synthetic(seed: int, pieces: int, size: int) -> Iterator[Filters]:
    """Random filters, layer by layer."""
    rng = np.random.default_rng(seed)
    for i in range(pieces):
        rows = rng.standard_normal((size, 9), dtype=np.float32)
        yield Filters(i % 11, rows, filter_maxima(rows), 0.0)


def moments(layers: Iterator[Filters]) -> list[Moments]:
    cells = [Moments.empty(9) for _ in range(12)]
    for layer in layers:
        cells[layer.depth] += Moments.of_scaled(layer.rows, layer.tops, layer.limit)
    return cells


def distribution(n: int) -> None:
    piece, models = 125_000, 10

    members = [
        Member(
            f"m{i}",
            "synthetic",
            robust=i % 2 == 0,
            match=f"m{i + 1}" if i % 2 == 0 else "",
            moments=moments(synthetic(i, n // (piece * models), piece)),
            filters=partial(synthetic, i, n // (piece * models), piece),
        )
        for i in range(models)
    ]
    start, cpu = time.perf_counter(), time.process_time()
    found = pool_filters(members, 9)
    counted = found.arrays["histograms"][0, 0].sum()
    peak = peak_mib()
    print(
        f"{counted / 1e6:.0f} million filters: {time.perf_counter() - start:.0f} s, "
        f"{time.process_time() - cpu:.0f} s of processor time, peak of the whole process {peak:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--distribution", type=int, metavar="FILTERS")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchconvquality imports distutils
        if options.distribution:
            distribution(options.distribution)
        elif options.memory:
            memory()
        else:
            speed(options.repeats)


if __name__ == "__main__":
    main()
