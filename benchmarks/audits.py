"""The audit as a whole: extraction against bare reading and writing, two jobs against one, resume, start-up.

Every pair is measured in turn in one run (A B A B …); the median ratio is what counts, not the seconds.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import torch

from filterlens.catalogs import load_catalog
from filterlens.runs import analyze, extract
from filterlens.runs.executors import InProcess, LocalProcesses


def make_zoo(folder: Path, models: int, width: int) -> Path:
    """Write random checkpoints of ten convolutions each, and their catalog."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    rows = [("model_id", "source")]
    for model in range(models):
        state = {f"layer{i}.weight": torch.randn(width, width, 3, 3, generator=generator) for i in range(10)}
        torch.save(state, folder / f"m{model}.pt")
        rows.append((f"m{model}", f"m{model}.pt"))
    with (folder / "zoo.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "zoo.csv"


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratios(first: Callable[[], object], second: Callable[[], object], runs: int) -> tuple[float, float, float]:
    """Median seconds of both, and the median of their ratio pair by pair."""
    pairs = [(seconds(first), seconds(second)) for _ in range(runs)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def bare_copy(zoo: Path, out: Path, *, synced: bool = False) -> None:
    """Read every checkpoint and write the same arrays with h5py alone, and wait for the disk if `synced`."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for path in sorted(zoo.parent.glob("*.pt")):
        with h5py.File(out / f"{path.stem}.h5", "w") as file:
            for name, weight in torch.load(path, weights_only=True).items():
                file[name] = weight.numpy()
        if synced:
            with (out / f"{path.stem}.h5").open("rb+") as file:
                os.fsync(file)


def audit(zoo: Path, out: Path, jobs: int = 1) -> float:
    """Extract the filters, and return the seconds from the first model's end to the last's, a model."""
    shutil.rmtree(out, ignore_errors=True)
    ends: list[float] = []
    extract(
        load_catalog(zoo),
        out,
        executor=LocalProcesses(jobs) if jobs > 1 else InProcess(),
        listener=lambda event: ends.append(time.perf_counter()) if event.rows else None,
    )
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def two_jobs(zoo: Path, out: Path, runs: int) -> tuple[float, float, float]:
    """Milliseconds a model with one job and with two, start-up left out, and the median of their ratio."""
    pairs = [(1000 * audit(zoo, out), 1000 * audit(zoo, out, jobs=2)) for _ in range(runs)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    print("| what | against | seconds | seconds | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = make_zoo(folder / "large", models=8, width=256)
        audit(large, folder / "warm")
        mine, theirs, ratio = ratios(
            lambda: audit(large, folder / "a"), lambda: bare_copy(large, folder / "b"), args.runs
        )
        print(f"| extraction of 8 x 23.6 MB | torch.load + h5py alone | {mine:.2f} | {theirs:.2f} | {ratio:.2f} |")
        mine, theirs, ratio = ratios(
            lambda: audit(large, folder / "a"), lambda: bare_copy(large, folder / "b", synced=True), args.runs
        )
        print(f"| the same | the same and fsync | {mine:.2f} | {theirs:.2f} | {ratio:.2f} |")

        memory = Path("/dev/shm")
        for width, models, size in ((16, 400, "0.1 MB"), (128, 80, "5.9 MB")):
            for place, where in ((folder, "on disk"), (memory, "in memory")):
                if place.is_dir():
                    with tempfile.TemporaryDirectory(dir=place) as there:
                        small = make_zoo(Path(there) / "zoo", models, width)
                        one, two, ratio = two_jobs(small, Path(there) / "run", args.runs)
                    what = f"{models} models of {size} {where}, `--jobs 1`"
                    print(f"| {what} | `--jobs 2` | {one:.1f} ms | {two:.1f} ms | {ratio:.2f} |")

        def scored(jobs: int) -> None:
            cli = [sys.executable, "-c", "from filterlens.cli import main; main()", "extract", "-l", "fonts-linf"]
            options = ["--lens", "filters,downsampling,robustness", "--out", str(folder / "j"), "--jobs", str(jobs)]
            shutil.rmtree(folder / "j", ignore_errors=True)
            subprocess.run([*cli, *options], check=True, capture_output=True)

        one, two, ratio = ratios(lambda: scored(1), lambda: scored(2), args.runs)
        print(f"| the zoo on FONTS, three lenses, `--jobs 1` | `--jobs 2` | {one:.1f} | {two:.1f} | {ratio:.2f} |")

        many = make_zoo(folder / "many", models=150, width=16)
        first = seconds(lambda: (audit(many, folder / "c"), analyze(folder / "c")))
        again = statistics.median(
            seconds(lambda: (extract(load_catalog(many), folder / "c"), analyze(folder / "c", reuse=True)))
            for _ in range(args.runs)
        )
        print(f"| 150 models, extract and analyse | the same again | {first:.1f} | {again:.2f} | {first / again:.0f} |")

        bare = [sys.executable, "-c", "pass"]
        help_ = [sys.executable, "-c", "from filterlens.cli import main; main()", "--help"]
        mine, theirs, ratio = ratios(
            lambda: subprocess.run(help_, check=True, capture_output=True),
            lambda: subprocess.run(bare, check=True),
            5 * args.runs,
        )
        print(f"| filterlens --help | python -c pass | {mine:.2f} | {theirs:.2f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
