"""What an analysis costs beside the scores of its layers alone, with two jobs, and beside the papers' own steps.

Run: `python benchmarks/analysis.py [--models 12] [--repeats 1] [--peer]`. Makes as many WideResNet-34-10 with random
weights as dumps (185 MB each) of one data set, every second robust. Seconds of this process's processor time, of one
thread, and wall time. One and two jobs are commands as a user runs them, start and end included, in turns, the best of
the repeats. With `--peer` the steps of the papers on the same filters: torchconvquality for the scores of each layer,
scikit-learn's PCA of the scaled filters, NumPy's histograms (`pip install scikit-learn`).
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from filterlens.catalogs import Entry
from filterlens.dumps import DumpWriter
from filterlens.lenses.filters.analyzer import score_layer
from filterlens.runs import analyze

WIDTHS = (160, 320, 640)


@dataclass(frozen=True)
class Cost:
    """Seconds of this process's processor time and of the clock."""

    processor: float
    wall: float


def cost(work: Callable[[], object]) -> Cost:
    processor, wall = time.process_time(), time.perf_counter()
    work()
    return Cost(time.process_time() - processor, time.perf_counter() - wall)


def wide_resnet_34_10() -> list[tuple[int, int, int, int]]:
    """Shapes of its 3x3 convolutions."""
    shapes = [(16, 3, 3, 3)]
    c_in = 16
    for c_out in WIDTHS:
        shapes += [(c_out, c_in, 3, 3)] + [(c_out, c_out, 3, 3)] * 9
        c_in = c_out
    return shapes


def make_run(folder: Path, models: int) -> None:
    """Write dumps and catalog of a run, as extraction leaves them."""
    rng = np.random.default_rng(0)
    entries = []
    for m in range(models):
        match = f"m{m + 1}" if m % 2 == 0 and m + 1 < models else ""
        entries.append(Entry(model_id=f"m{m}", source=f"m{m}.pt", dataset="synthetic", robust=m % 2 == 0, match=match))
        with DumpWriter(folder / "dumps" / f"m{m}.h5", {"model_id": f"m{m}"}) as dump:
            group = dump.lens("filters", {})
            shapes = wide_resnet_34_10()
            for place, shape in enumerate(shapes):
                weight = rng.standard_normal(shape, dtype=np.float32) * 0.02
                group.write(f"conv{place}", weight, conv_depth=place, conv_depth_norm=place / (len(shapes) - 1))
    with (folder / "catalog.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["model_id", "source", "dataset", "robust", "match"])
        writer.writerows((e.model_id, e.source, e.dataset, e.robust, e.match) for e in entries)


def score_layers(folder: Path) -> None:
    """Score every layer of every dump, already read, and do nothing else."""
    for path in sorted((folder / "dumps").iterdir()):
        with h5py.File(path) as file:
            for dataset in file["filters"].values():
                score_layer(torch.from_numpy(dataset[()]))


def command(folder: Path, jobs: int) -> float:
    """Seconds that `filterlens analyze` takes; it scores every dump anew."""
    program = "from filterlens.cli import main; main()"
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", program, "analyze", str(folder), "--jobs", str(jobs)],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return time.perf_counter() - begun


def papers_steps(folder: Path) -> None:
    """Scores, principal components and histograms as the papers' notebooks compute them."""
    import torchconvquality  # noqa: PLC0415 - it imports distutils, whose warning main() silences
    from sklearn.decomposition import PCA  # noqa: PLC0415 - the peer's

    scaled = []
    for path in sorted((folder / "dumps").iterdir()):
        with h5py.File(path) as file:
            for dataset in file["filters"].values():
                weight = torch.from_numpy(dataset[()])
                torchconvquality.measure_conv_weight_quality(weight)
                rows = weight.flatten(2).flatten(0, 1).numpy()
                scaled.append(rows / np.abs(rows).max(axis=1, keepdims=True))
    filters = np.concatenate(scaled)
    coefficients = PCA().fit_transform(filters)
    edges = np.linspace(coefficients.min(), coefficients.max(), 71)
    for column in coefficients.T:
        np.histogram(column, bins=edges)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--peer", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "run"
        make_run(folder, arguments.models)
        warm = Path(work) / "warm"
        make_run(warm, 1)
        analyze(warm)  # loops are compiled
        found = {"scores of all layers alone": cost(lambda: score_layers(folder))}
        found["analyze"] = cost(lambda: analyze(folder))
        found["again, nothing new"] = cost(lambda: analyze(folder, reuse=True))
        if arguments.peer:
            found["the papers' steps"] = cost(lambda: papers_steps(folder))
        times: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(arguments.repeats):
            for jobs, seconds in times.items():
                seconds.append(command(folder, jobs))
        one, two = (min(seconds) for seconds in times.values())
        alone = found["scores of all layers alone"].processor
        print(f"{arguments.models} WideResNet-34-10\n")
        print("| | processor time, s | to the scores alone | wall time, s |")
        print("|---|---|---|---|")
        for name, own in found.items():
            print(f"| {name} | {own.processor:.1f} | {own.processor / alone:.2f} | {own.wall:.1f} |")
        print(f"| `filterlens analyze --jobs 1` | | | {one:.1f} |")
        print(f"| `filterlens analyze --jobs 2` | | | {two:.1f} |")
        print(f"\nTwo jobs are {one / two:.2f} times as fast as one.")


if __name__ == "__main__":
    main()
