"""Score every architecture that timm has pretrained weights of: random weights, three lenses that need weights only.

Run: `python benchmarks/architecture_coverage.py [--out docs/coverage.csv] [--largest 400] [--seconds 3600]`, again to
go on where it ended. Architectures are built one at a time in a process of their own, so that memory is that of the
largest and a failure is one row; one of each family comes first. The first of each family is scored by the downsampling
lens too, at its own image size, and its captured operations are replayed: a network whose downsampling is replaced by
the subsampled dense maps must give its own output. `--table` writes docs/coverage.md from the rows.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import resource
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import model_entrypoint
from torch import nn

import filterlens
from filterlens.errors import InputError, LensSkipped
from filterlens.tracing.replay import replay_error

LARGE = 512  # pixels
LONGEST = 600  # seconds that one architecture may take
ROOT = Path(__file__).resolve().parents[1]
LENSES = ("filters", "frequency", "spectra")
FIELDS = (
    *("architecture", "family", "parameters", "lens", "status", "rows", "kernels", "seconds", "peak_mb", "reason"),
    "replay_error",  # largest difference of the outputs, relative to the largest output
)


def architectures() -> list[tuple[str, str]]:
    """Every architecture of timm's own with pretrained weights and its family, the smallest of each family first."""
    names = sorted({tag.partition(".")[0] for tag in timm.list_models(pretrained=True)})
    modules = {name: model_entrypoint(name).__module__ for name in names}  # RobustBench registers more in timm's list
    families = {name: where.rpartition(".")[2] for name, where in modules.items() if where.startswith("timm.")}
    names = list(families)
    first: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (not any(word in name for word in SMALL), len(name), name)):
        first.setdefault(families[name], name)
    return [(name, families[name]) for name in [*first.values(), *(n for n in names if n not in first.values())]]


SMALL = ("tiny", "small", "nano", "pico", "atto", "femto", "_s", "18", "26", "b0", "050")


def representatives() -> list[tuple[str, str]]:
    """One architecture of every family, and the family."""
    found: dict[str, str] = {}
    for name, family in architectures():
        found.setdefault(family, name)
    return [(name, family) for family, name in found.items()]


def build(name: str) -> nn.Module:
    """Build an architecture with random weights of which none is a constant: zeros would hide what is wrong."""
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() > 1 and float(parameter.std()) == 0:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for name_of, made in (("running_mean", (0.0, 0.1)), ("running_var", (1.0, 0.1))):
                    module.get_buffer(name_of).normal_(*made).abs_()
    return network


def example(network: nn.Module, n: int = 2) -> torch.Tensor:
    """Random images of the size that an architecture takes; one where they are large, for memory."""
    cfg: Any = network.pretrained_cfg
    channels, height, width = cfg["input_size"]
    return torch.rand(n if height <= LARGE else 1, channels, height, width)


def score(name: str, family: str, largest: float, lenses: Sequence[str]) -> list[dict[str, object]]:
    """Build one architecture and return a row a lens; none where it is larger than `largest` million parameters."""
    try:
        with torch.device("meta"):
            size = sum(p.numel() for p in timm.create_model(name).parameters()) / 1e6
    except (NotImplementedError, RuntimeError):  # some compute with their weights when they are made
        size = sum(p.numel() for p in timm.create_model(name).parameters()) / 1e6
    if size > largest:
        return []  # for a run with more time
    facts: dict[str, object] = {"architecture": name, "family": family, "parameters": f"{size:.1f}"}
    network = build(name)
    rows = []
    for lens in lenses:
        start = time.process_time()
        found = score_lens(network, lens)
        seconds = f"{time.process_time() - start:.1f}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        rows.append(facts | found | {"lens": lens, "seconds": seconds, "peak_mb": peak})
    return rows


def score_lens(network: nn.Module, lens: str) -> dict[str, object]:
    """Score a network, and say how many rows of which kinds came out, or why none did."""
    options: dict[str, Any] = {"operator_gflop": 0.0} if lens == "spectra" else {}
    images = example(network) if lens == "downsampling" else None
    try:
        table = filterlens.measure(network, images, lens=lens, **options)
    except (LensSkipped, InputError) as reason:
        return {"status": "refused", "rows": 0, "reason": str(reason)}
    main = dict(Counter(table["kind"]).most_common(4))
    found: dict[str, object] = {"status": "scored", "rows": len(table), "reason": ""}
    found["kernels"] = ", ".join(f"{n} {kind}" for kind, n in main.items())
    if images is not None:
        found["replay_error"] = f"{replay_error(network, images)[0]:.1g}"
    return found


def run(out: Path, largest: float, seconds: float) -> None:
    """Add the rows of every architecture that is not there yet, until the time is over."""
    start = time.monotonic()
    torch.set_num_threads(1)
    filterlens.measure(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)))  # imports what the children need
    done = {(row["architecture"], row["lens"]) for row in read(out)}
    failed_before = {name for name, lens in done if not lens}
    first = dict(representatives())
    if not out.exists():
        out.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    for name, family in architectures():
        wanted = [*LENSES, *(["downsampling"] if name in first else [])]
        lenses = [lens for lens in wanted if (name, lens) not in done and name not in failed_before]
        if not lenses or time.monotonic() - start > seconds:
            continue
        rows = apart(name, family, largest, lenses)
        with out.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, FIELDS, restval="", lineterminator="\n").writerows(rows)


def apart(name: str, family: str, largest: float, lenses: Sequence[str]) -> list[dict[str, object]]:
    """Score one architecture in a process of its own; whatever befalls it is one row."""
    context = multiprocessing.get_context("fork")  # a child has everything imported
    results: SimpleQueue[list[dict[str, object]] | str] = context.SimpleQueue()

    def child() -> None:
        warnings.simplefilter("ignore")
        try:
            results.put(score(name, family, largest, lenses))
        except Exception as error:  # noqa: BLE001 - one architecture never stops the others
            results.put(f"{type(error).__name__}: {error}")

    process = context.Process(target=child, daemon=True)
    process.start()
    process.join(LONGEST)
    process.kill()
    found = f"ended without a word within {LONGEST} s" if results.empty() else results.get()
    if isinstance(found, list):
        return found
    reason = found.splitlines()[0][:200]
    return [{"architecture": name, "family": family, "lens": "", "status": "failed", "reason": reason}]


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def page(rows: list[dict[str, str]]) -> str:
    """Say how much was run, and what became of it, by family."""
    names = {row["architecture"] for row in rows}
    replayed = [float(row["replay_error"]) for row in rows if row["replay_error"]]
    every = len(architectures())
    families = sorted({row["family"] for row in rows})
    lines = [
        "# Coverage\n",
        "Generated by `python benchmarks/architecture_coverage.py --table` from [coverage.csv](coverage.csv): "
        "architectures of timm "
        f"{timm.__version__} that have pretrained weights, built with random ones and scored by the three lenses that "
        f"need weights only. {len(names)} of {every} were run so far, of {len(families)} families; "
        f"{len({row['architecture'] for row in rows if row['status'] == 'failed'})} failed. Cells say how many were "
        "scored, and of which filter sizes, or why not.\n",
        "The smallest of each family is also scored by the downsampling lens, on two images of noise at its own "
        "size, and its captured operations are **replayed**: each is computed as its dense map, subsampled, and the "
        f"network must give its own output. The largest difference is {max(replayed, default=0):.0e} of the largest "
        f"output, over {len(replayed)} families.\n",
        "| family | run | filters | frequency | spectra | downsampling | replay error | largest, million parameters | "
        "peak, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for family in families:
        own = [row for row in rows if row["family"] == family]
        cells = [cell([row for row in own if row["lens"] in {lens, ""}]) for lens in LENSES]
        once = next((row for row in own if row["lens"] == "downsampling"), None)
        cells += [once["kernels"] or once["status"], once["replay_error"]] if once else ["", ""]
        largest = max(float(row["parameters"] or 0) for row in own)
        peak = max(int(row["peak_mb"] or 0) for row in own)
        count = len({row["architecture"] for row in own})
        lines.append(f"| {family} | {count} | {' | '.join(cells)} | {largest:.0f} | {peak} |")
    lines += [
        "",
        "## Refused",
        "",
        "What may stand here, and the test that each reason has: `tests/test_coverage.py`.",
        "",
    ]
    refused = Counter((row["lens"], row["reason"].partition(" ")[2]) for row in rows if row["status"] == "refused")
    lines += [f"- {n} x by {lens}: {reason}" for (lens, reason), n in refused.most_common()] or ["- none"]
    failed = [f"- `{row['architecture']}`: {row['reason']}" for row in rows if row["status"] == "failed"]
    return "\n".join([*lines, "", "## Failed", "", *(failed or ["- none"]), ""])


def cell(rows: list[dict[str, str]]) -> str:
    """Say how many of a family one lens scored, and of which filter sizes."""
    scored = [row for row in rows if row["status"] == "scored"]
    sizes = Counter(row["kernels"].split(" ")[1].rstrip(",") for row in scored if row["kernels"][:1].isdigit())
    kinds = ", ".join(size for size, _ in sizes.most_common() if size[0].isdigit())
    parts = [f"{len(scored)}{f' ({kinds})' if kinds else ''}"] if scored else []
    parts += [f"{n} {status}" for status, n in Counter(r["status"] for r in rows).items() if status != "scored"]
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "coverage.csv")
    parser.add_argument("--largest", type=float, default=100.0, help="million parameters")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        (options.out.parent / "coverage.md").write_text(page(read(options.out)), encoding="utf-8")
    else:
        run(options.out, options.largest, options.seconds)


if __name__ == "__main__":
    main()
