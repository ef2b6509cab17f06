"""A zoo of small networks in shards of safetensors, audited for the filters lens, killed and resumed.

Run: `python benchmarks/many_models.py [--models 1000 10000 100000] [--jobs 2] [--kill] [--keep FOLDER]`.

Each network has three 3x3 convolutions and a linear layer, 5,162 weights, drawn anew (`--seed`); a shard holds a
thousand, named `NAME/LAYER.weight`. `extract`, `analyze` and `report` run as a user runs them, one process after the
other: seconds of the clock and of processor time, and the most memory of all their processes together (shared pages
once). `--kill` ends a second audit of the same catalog by SIGKILL three times, resumes it, and compares its scores with
those of the first, byte by byte.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

SHAPES = {
    "conv1.weight": (8, 3, 3, 3),
    "conv1.bias": (8,),
    "conv2.weight": (16, 8, 3, 3),
    "conv2.bias": (16,),
    "conv3.weight": (16, 16, 3, 3),
    "conv3.bias": (16,),
    "fc.weight": (10, 144),
    "fc.bias": (10,),
}
SHARD = 1000
FILTERLENS = [sys.executable, "-c", "from filterlens.cli import main; main()"]


def make_zoo(folder: Path, models: int, seed: int = 0) -> Path:
    """Write shards and their catalog; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"net{number:06d}" for number in range(models)]
    for start in range(0, models, SHARD):
        path = folder / f"zoo-{start // SHARD:03d}.safetensors"
        if not path.is_file():
            random = torch.Generator().manual_seed(seed * 1_000_003 + start)
            save_file(dict(_tensors(names[start : start + SHARD], random)), path)
    catalog = folder / f"models-{models}.csv"
    with catalog.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["model_id", "source", "dataset", "architecture"])
        for number, name in enumerate(names):
            rows.writerow([name, f"zoo-{number // SHARD:03d}.safetensors#{name}", "random", f"width {number % 5}"])
    return catalog


def _tensors(names: list[str], random: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    for name in names:
        for layer, shape in SHAPES.items():
            scale = 0.5 * float(torch.rand((), generator=random)) + 0.1
            yield f"{name}/{layer}", torch.randn(shape, generator=random) * scale


class Watch(threading.Thread):
    """Looks five times a second how much memory and processor time a process and all below it take."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.most, self.ended = pid, 0, False
        self.spent: dict[int, float] = {}

    def run(self) -> None:
        """Look until it has ended."""
        while not self.ended:
            family = _family(self.pid)
            self.most = max(self.most, sum(map(_proportional, family)))
            self.spent |= {pid: max(self.spent.get(pid, 0.0), _seconds(pid)) for pid in family}
            time.sleep(0.2)


def _family(pid: int) -> list[int]:
    """List a process and all below it."""
    found = [pid]
    for parent in found:
        try:
            threads = Path(f"/proc/{parent}/task").iterdir()
            found += [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        except OSError:
            continue
    return found


def _proportional(pid: int) -> int:
    """Bytes of a process; pages that several share count in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _seconds(pid: int) -> float:
    """Return the processor time of a process so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(*arguments: str) -> tuple[float, float, int]:
    """Run a command; return seconds of the clock, of processor time, and bytes of memory."""
    begun = time.monotonic()
    with subprocess.Popen([*FILTERLENS, *arguments], stdout=subprocess.DEVNULL) as process:
        watch = Watch(process.pid)
        watch.start()
        code = process.wait()
        watch.ended = True
    if code:
        raise SystemExit(f"{' '.join(arguments)}: exit code {code}")
    return time.monotonic() - begun, sum(watch.spent.values()), watch.most


def kill_and_resume(catalog: Path, out: Path, jobs: int, models: int) -> None:
    """End an audit by SIGKILL three times, at a fifth of its shards each, and let it finish."""
    shutil.rmtree(out, ignore_errors=True)
    command = [*FILTERLENS, "extract", "-l", str(catalog), "--lens", "filters", "--jobs", str(jobs), "--out", str(out)]
    shards = -(-models // SHARD)
    for _ in range(3):
        done = _parts(out)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and _parts(out) < done + max(1, shards // 5):
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"  killed with {_parts(out)} of {shards} shards done", flush=True)
    wall, spent, _ = run(*command[len(FILTERLENS) :])
    run("analyze", str(out))
    print(f"  resumed: {wall:.0f} s, {spent:.0f} s of processor time; {_parts(out)} parts")


def _parts(out: Path) -> int:
    return len(list((out / "parts").glob("*-ledger.parquet")))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _size(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{sum(path.stat().st_size for path in files) / 1e6:.0f} MB in {len(files)} files"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[1000])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="many-models-"))
    try:
        for models in arguments.models:
            _measure(folder, models, arguments)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)


def _measure(folder: Path, models: int, arguments: argparse.Namespace) -> None:
    catalog, out = make_zoo(folder, models, arguments.seed), folder / f"out-{models}"
    shutil.rmtree(out, ignore_errors=True)
    jobs = ["--jobs", str(arguments.jobs)]
    steps = {
        "extract": ["extract", "-l", str(catalog), "--lens", "filters", *jobs, "--out", str(out)],
        "analyze": ["analyze", str(out)],
        "report": ["report", str(out)],
    }
    print(f"\n{models} models, {arguments.jobs} jobs, load {os.getloadavg()[0]:.1f}", flush=True)
    for name, command in steps.items():
        wall, spent, most = run(*command)
        print(
            f"  {name}: {wall:.0f} s ({models / wall:.0f} models/s), {spent:.0f} s of processor time "
            f"({models / spent:.0f} models/s and core), {most / 1e6:.0f} MB",
            flush=True,
        )
    print(f"  {_size(out)}; page {(out / 'index.html').stat().st_size / 1e6:.1f} MB")
    if arguments.kill:
        again = folder / f"killed-{models}"
        kill_and_resume(catalog, again, arguments.jobs, models)
        same = _digest(out / "scores.parquet") == _digest(again / "scores.parquet")
        print(f"  scores of the resumed audit: {'the same, byte by byte' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
