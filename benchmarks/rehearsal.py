"""RobustBench's leaderboards rehearsed: fetch, extract, analyze and report of its models in its own files.

Run: `python benchmarks/rehearsal.py [--models 'cifar10/Linf/*'] [--large] [--dumps none] [--jobs 1] [--keep FOLDER]`.

Writes each model as RobustBench keeps it (its constructor, its container, its parts), with random weights, into a
folder in the cache's layout. From that as a mirror the four commands run as a user runs them, into an empty cache. By
default the first `--most` models of at most 12 million parameters; `--large` takes models of any size, and with
`--most 0` all 206 of the three data sets. Seconds of the clock and of processor time, and most memory.
What cannot be made is listed with its reason; what cannot be loaded is in the ledger of the run.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from filterlens.catalogs import Entry
from filterlens.loaders.registry import Request
from filterlens.loaders.robustbench import files, untrained, zoo

MILLION = 1_000_000
LAST_ONLY = ("Kireev2021Effectiveness", "Andriushchenko2020Understanding")  # whose authors keep the last and the best


@dataclass(frozen=True)
class Model:
    """A model of RobustBench."""

    dataset: str
    threat: str
    name: str

    @property
    def entry(self) -> Entry:
        """Its row of a catalog."""
        model_id = f"{self.dataset}-{self.threat}-{self.name}"
        source = f"robustbench:{self.dataset}/{self.threat}/{self.name}"
        return Entry(model_id=model_id, source=source, dataset=self.dataset)


def models(pattern: str) -> Iterator[Model]:
    for (dataset, threat), found in zoo().items():
        for name in found:
            if fnmatch.fnmatch(f"{dataset}/{threat}/{name}", pattern):
                yield Model(dataset, threat, name)


def contents(model: Model, network: Any) -> list[object]:
    """Return what each of a model's files holds, as RobustBench's loader expects it."""
    if model.name.startswith("Bai2023Improving"):
        both = network.comp_model
        parts = [{"state_dict": part.state_dict()} for part in both.models]
        return [*parts, {"model": both.policy_net.state_dict(), "bn": both.bn.state_dict()}]
    if model.name.startswith("Bai2024MixedNUTS"):
        return [{"state_dict": part.state_dict()} for part in (network.std_model, network.rob_model)]
    drives = zoo()[model.dataset, model.threat][model.name]["gdrive_id"]
    if isinstance(drives, list):
        return [{"state_dict": part.state_dict()} for part in network.models]
    state: Mapping[str, Tensor] = network.state_dict()
    if any(name in model.name for name in LAST_ONLY):
        return [{"last": state}]
    inner = model.dataset == "imagenet" or drives is None  # those without come through timm
    return [{"state_dict": without_normalisation(state) if inner else state}]


def without_normalisation(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the network inside: the loader puts its normalisation around it."""
    inner = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
    return inner or dict(state)


def write(model: Model, mirror: Path, cache: Path, most: float) -> int:
    """Write a model's files; return how many bytes they have, 0 where the model is too large."""
    torch.manual_seed(0)
    network = untrained(model.dataset, model.threat, model.name)
    if network is None:  # RobustBench takes torchvision's own
        network = torchvision.models.resnet50(weights=None)
    if sum(weight.numel() for weight in network.state_dict().values()) > most:
        return 0
    request = Request(entry=model.entry, rest=model.entry.source.partition(":")[2], folder=cache)
    size = 0
    for file, content in zip(files(request), contents(model, network), strict=True):
        inside = file.target.is_relative_to(cache)
        place = mirror / file.target.relative_to(cache) if inside else file.target  # torch's own cache is not mirrored
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content if inside else network.state_dict(), place)
        size += place.stat().st_size
    return size


@dataclass(frozen=True)
class Cost:
    """Of one command; workers of `--jobs` are not counted but for the clock."""

    wall: float
    processor: float
    megabytes: float
    code: int


# in a small process of its own: a child's peak begins with that of the process which starts it
MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.call([sys.executable, "-c", "from filterlens.cli import main; main()", *sys.argv[1:]], stdout=2)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, code)
"""


def run(*command: str) -> Cost:
    """Run a command of filterlens as a user does."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], stdout=subprocess.PIPE, text=True, check=True)
    wall, processor, megabytes, code = done.stdout.split()
    return Cost(float(wall), float(processor), float(megabytes), int(code))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="*", help="shell pattern of DATASET/THREAT/NAME")
    parser.add_argument("--most", type=int, default=12, help="how many models; 0: all")
    parser.add_argument("--large", action="store_true", help="models of any size, and all of them")
    parser.add_argument("--dumps", choices=["all", "none"], default="all")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for files, cache and run; a temporary one by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        rehearse(arguments, (arguments.keep or Path(temporary)).resolve())


def rehearse(arguments: argparse.Namespace, work: Path) -> None:
    mirror, cache = work / "mirror", work / "cache"
    mirror.mkdir(parents=True, exist_ok=True)
    os.environ |= {"FILTERLENS_CACHE": str(cache), "TORCH_HOME": str(work / "torch"), "OMP_NUM_THREADS": "1"}
    most = float("inf") if arguments.large else 12 * MILLION
    written: dict[Model, int] = {}
    left_out: dict[Model, str] = {}
    for model in models(arguments.models):
        if 0 < arguments.most <= len(written):
            break
        try:
            size = write(model, mirror, cache, most)
        except Exception as error:  # noqa: BLE001 - a constructor of others raises anything
            left_out[model] = str(error).splitlines()[0]
            continue
        if size:
            written[model] = size
    with (work / "zoo.csv").open("w", newline="") as file:
        rows = [(model.entry.model_id, model.entry.source, model.dataset) for model in written]
        csv.writer(file).writerows([("model_id", "source", "dataset"), *rows])
    total = sum(written.values())
    print(f"{len(written)} models in {total / 1e9:.2f} GB, {arguments.jobs} jobs, --dumps {arguments.dumps}\n")
    out, jobs = str(work / "run"), ("--jobs", str(arguments.jobs))
    steps = {
        "fetch": ("fetch", "-l", str(work / "zoo.csv"), "--mirror", str(mirror)),
        "extract": (
            "extract",
            "-l",
            str(work / "zoo.csv"),
            "--out",
            out,
            "--dumps",
            arguments.dumps,
            "--offline",
            *jobs,
        ),
        "analyze": ("analyze", out, *jobs, *(["--reread"] if arguments.dumps == "none" else [])),
        "report": ("report", out),
        "audit, nothing new": (
            *("audit", "-l", str(work / "zoo.csv"), "--out", out, "--dumps", arguments.dumps, "--offline", *jobs),
        ),
    }
    shutil.rmtree(out, ignore_errors=True)
    print("| | seconds | processor time, s | peak, MB | exit code |")
    print("|---|---|---|---|---|")
    for name, command in steps.items():
        cost = run(*command)
        print(f"| {name} | {cost.wall:.0f} | {cost.processor:.0f} | {cost.megabytes:.0f} | {cost.code} |", flush=True)
    dumps = sum(path.stat().st_size for path in (work / "run" / "dumps").glob("*.h5"))
    print(f"\n{dumps / 1e6:.0f} MB of dumps")
    for model, why in left_out.items():
        print(f"left out: {model.entry.model_id}: {why}")


if __name__ == "__main__":
    main()
