"""A catalog of millions of rows, as of a zoo in shards: read and checked, gone through, looked up in, selected from.

Run: `python benchmarks/large_catalog.py [--rows 1000000 10000000] [--keep FOLDER]`.

Each row has `model_id`, `source` (`PATH.safetensors#NAME`), `dataset`, `architecture`, `robust`, `match` (every tenth
model is robust and matched with the one before it), `epoch` and `clean_acc`. Processor time of each step, and the peak
resident memory of a process of its own until then.
"""

from __future__ import annotations

import argparse
import csv
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from filterlens.catalogs import Catalog, load_catalog

HEADER = ("model_id", "source", "dataset", "architecture", "robust", "match", "epoch", "clean_acc")


def make_catalog(folder: Path, rows: int) -> Path:
    """Write a catalog; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"zoo-{rows}.csv"
    if not path.is_file():
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(HEADER)
            writer.writerows(map(_row, range(rows)))
    return path


def _row(number: int) -> list[str]:
    name, robust = f"net{number:08d}", number % 10 == 9
    source = f"zoo/shard-{number // 1000:05d}.safetensors#{name}"
    match = f"net{number - 1:08d}" if robust else ""
    return [name, source, "random", f"width {number % 5}", str(robust).lower(), match, str(number % 50),
            f"{number * 7919 % 10_000 / 100:.2f}"]  # fmt: skip


def measure(path: Path) -> None:
    """Print a line of a table for each step."""
    found: list[Catalog] = []
    steps: dict[str, Callable[[], object]] = {
        "read and check": lambda: found.append(load_catalog(path)),
        "every entry": lambda: sum(1 for _ in found[0]),
        "one by its id": lambda: found[0][f"net{len(found[0]) // 2:08d}"],
        "select 'net0000*'": lambda: found[0].select(["net0000*"]),
        "select '*'": lambda: found[0].select(["*"]),
        "select '*9': a tenth, and their matches": lambda: found[0].select(["*9"]),
    }
    rows = int(path.stem.rpartition("-")[2])
    for name, step in steps.items():
        begun = time.process_time()
        step()
        spent = time.process_time() - begun
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"| {rows:,} | {path.stat().st_size / 1e6:.0f} MB | {name} | {spent:.1f} s | {most:.2f} GB |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="large-catalog-"))
    try:
        print("| rows | file | step | processor time | peak memory |\n|---:|---:|---|---:|---:|", flush=True)
        for rows in arguments.rows:
            path = make_catalog(folder, rows)
            subprocess.run([sys.executable, __file__, "--measure", str(path)], check=True)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
