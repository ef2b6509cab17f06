"""Score every architecture that timm has pretrained weights of: random weights, three lenses that need weights only.

Run: `python benchmarks/architecture_coverage.py [--out docs/coverage.csv] [--largest 400] [--seconds 3600]`, again to
go on where it ended. Architectures are built one at a time in a process of their own, so that memory is that of the
largest and a failure is one row; one of each family comes first. `--table` writes docs/coverage.md from the rows.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import model_entrypoint

import filterlens
from filterlens.errors import LensSkipped

ROOT = Path(__file__).resolve().parents[1]
LENSES = ("filters", "frequency", "spectra")
FIELDS = ("architecture", "family", "parameters", "lens", "status", "rows", "kernels", "seconds", "peak_mb", "reason")


def architectures() -> list[tuple[str, str]]:
    """Every architecture with pretrained weights and its family, the smallest name of each family first."""
    names = sorted({tag.partition(".")[0] for tag in timm.list_models(pretrained=True)})
    families = {name: model_entrypoint(name).__module__.rpartition(".")[2] for name in names}
    first: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (not any(word in name for word in SMALL), len(name), name)):
        first.setdefault(families[name], name)
    return [(name, families[name]) for name in [*first.values(), *(n for n in names if n not in first.values())]]


SMALL = ("tiny", "small", "nano", "pico", "atto", "femto", "_s", "18", "26", "b0", "050")


def score(name: str, family: str, largest: float) -> None:
    """Build one architecture and print a row a lens."""
    warnings.simplefilter("ignore")
    writer = csv.DictWriter(sys.stdout, FIELDS)
    try:
        with torch.device("meta"):
            size = sum(p.numel() for p in timm.create_model(name).parameters()) / 1e6
    except (NotImplementedError, RuntimeError):  # some compute with their weights when they are made
        size = sum(p.numel() for p in timm.create_model(name).parameters()) / 1e6
    row: dict[str, object] = {"architecture": name, "family": family, "parameters": f"{size:.1f}"}
    if size > largest:
        return  # for a run with more time
    network = timm.create_model(name).eval()
    for lens in LENSES:
        start = time.process_time()
        options: dict[str, Any] = {"operator_gflop": 0.0} if lens == "spectra" else {}
        try:
            table = filterlens.measure(network, lens=lens, **options)
            main = dict(Counter(table["kind"]).most_common(4))
            kinds = ", ".join(f"{n} {kind}" for kind, n in main.items())
            found: dict[str, object] = {"status": "scored", "rows": len(table), "kernels": kinds, "reason": ""}
        except LensSkipped as reason:
            found = {"status": "refused", "rows": 0, "reason": str(reason)}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        seconds = f"{time.process_time() - start:.1f}"
        writer.writerow(row | found | {"lens": lens, "seconds": seconds, "peak_mb": peak})


def run(out: Path, largest: float, seconds: float) -> None:
    """Add the rows of every architecture that is not there yet, until the time is over."""
    start = time.monotonic()
    done = {row["architecture"] for row in read(out)}
    if not out.exists():
        out.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    for name, family in architectures():
        if name in done or time.monotonic() - start > seconds:
            continue
        command = [sys.executable, __file__, "--one", name, family, "--largest", str(largest)]
        try:
            made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            text, said = made.stdout, made.stderr.strip().splitlines()[-1:] or ["ended without a word"]
            failed = made.returncode != 0
        except subprocess.TimeoutExpired:
            text, said, failed = "", ["took more than 600 s"], True
        with out.open("a", newline="", encoding="utf-8") as file:
            if failed:
                row = {"architecture": name, "family": family, "lens": "", "status": "failed", "reason": said[0][:200]}
                csv.DictWriter(file, FIELDS).writerow(row)
            else:
                file.write(text.replace("\r\n", "\n"))


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def page(rows: list[dict[str, str]]) -> str:
    """Say how much was run, and what became of it, by family."""
    names = {row["architecture"] for row in rows}
    every = len({tag.partition(".")[0] for tag in timm.list_models(pretrained=True)})
    families = sorted({row["family"] for row in rows})
    lines = [
        "# Coverage\n",
        "Generated by `python benchmarks/architecture_coverage.py --table` from [coverage.csv](coverage.csv): "
        "architectures of timm "
        f"{timm.__version__} that have pretrained weights, built with random ones and scored by the three lenses that "
        f"need weights only. {len(names)} of {every} were run so far, of {len(families)} families; "
        f"{len({row['architecture'] for row in rows if row['status'] == 'failed'})} failed. Cells say how many were "
        "scored, and of which filter sizes, or why not.\n",
        "| family | run | filters | frequency | spectra | largest, million parameters | peak, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for family in families:
        own = [row for row in rows if row["family"] == family]
        cells = [cell([row for row in own if row["lens"] in {lens, ""}]) for lens in LENSES]
        largest = max(float(row["parameters"] or 0) for row in own)
        peak = max(int(row["peak_mb"] or 0) for row in own)
        count = len({row["architecture"] for row in own})
        lines.append(f"| {family} | {count} | {' | '.join(cells)} | {largest:.0f} | {peak} |")
    refused = Counter(
        row["reason"].partition(" ")[2] for row in rows if row["status"] == "refused" and row["lens"] == "filters"
    )
    lines += ["", "## Refused", "", "By the filters and the frequency lens:", ""]
    lines += [f"- {n} x: {reason}" for reason, n in refused.most_common()] or ["- none"]
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
    parser.add_argument("--one", nargs=2, metavar=("ARCHITECTURE", "FAMILY"))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.one:
        score(options.one[0], options.one[1], options.largest)
    elif options.table:
        (options.out.parent / "coverage.md").write_text(page(read(options.out)), encoding="utf-8")
    else:
        run(options.out, options.largest, options.seconds)


if __name__ == "__main__":
    main()
