"""Score every architecture that timm has pretrained weights of and every model of RobustBench: random weights.

Run: `python benchmarks/architecture_coverage.py [--out docs/coverage.csv] [--largest 400] [--seconds 3600]`, again to
go on where it ended. Three lenses need weights only; networks that are one to them (`coverage_networks.py`) are run
once. Each is built in a process of its own, so that a failure is one row; one of each family comes first, then by
size (a family whose smallest is large waits for its turn). The first of each family is scored by the downsampling lens
too, at its own image size, and its captured operations are replayed: a network whose downsampling is replaced by the
subsampled dense maps must give its own output. `--table` writes docs/coverage.md from the rows.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # scripts are no package that is installed

import filterlens
from benchmarks.coverage_networks import PREFIX, Network, construct, fill, networks, timm_names, vary
from filterlens.errors import InputError, LensSkipped
from filterlens.lens import all_scores
from filterlens.tracing.replay import replay_error

ROOT = Path(__file__).resolve().parents[1]
LARGE = 512  # pixels
MODERATE = 50  # million parameters up to which the first of a family does not wait for its turn by size
LONGEST = 7200  # seconds that one architecture may take
MEMORY = 8 << 30  # bytes that it may take
LENSES = ("filters", "frequency", "spectra")
FIELDS = (
    *("architecture", "family", "parameters", "lens", "status", "rows", "kernels", "seconds", "peak_mb", "reason"),
    "replay_error",  # largest difference of the outputs, relative to the largest output
    "same_as",  # the network that was run in its place
)


def representatives() -> list[tuple[str, str]]:
    """One architecture of every family of timm, and the family."""
    found: dict[str, str] = {}
    for name, family in timm_names():
        found.setdefault(family, name)
    return [(name, family) for family, name in found.items()]


def first_of_families() -> dict[str, str]:
    """One network of every family by name, and its family: of RobustBench's the smallest."""
    found = {family: name for name, family in representatives()}
    for network in sorted(networks(), key=lambda network: network.size):
        if network.digest:
            found.setdefault(network.family, network.name)
    return {name: family for family, name in found.items()}


def build(name: str) -> nn.Module:
    """Build a network that can be run, with random weights and statistics of which none is a constant."""
    torch.manual_seed(0)
    return vary(construct(name, real=True))


def build_weights(name: str) -> nn.Module:
    """Build a network whose weights can be looked at: without initialising them where it can be built so."""
    torch.manual_seed(0)
    try:
        network = construct(name)
    except Exception:  # noqa: BLE001 - some compute with their weights when they are made
        return build(name)
    return vary(network) if fill(network) else build(name)


def example(network: nn.Module, n: int = 2) -> torch.Tensor:
    """Random images of the size that an architecture takes; one where they are large, for memory."""
    cfg: Any = network.pretrained_cfg
    channels, height, width = cfg["input_size"]
    return torch.rand(n if height <= LARGE else 1, channels, height, width)


def example_of(name: str, network: nn.Module) -> torch.Tensor:
    """Random images of the size that a network takes, RobustBench's of that of its data set."""
    if not name.startswith(PREFIX):
        return example(network)
    side = 224 if name.startswith(f"{PREFIX}imagenet") else 32
    return torch.rand(2, 3, side, side)


def score(found: Network, lenses: Sequence[str]) -> list[dict[str, object]]:
    """Build one network and return a row a lens."""
    facts: dict[str, object] = {"architecture": found.name, "family": found.family, "parameters": found.parameters}
    runs = "downsampling" in lenses
    network = build(found.name) if runs else build_weights(found.name)
    images = example_of(found.name, network) if runs else None
    rows = []
    for lens in lenses:
        start = time.process_time()
        scored = score_lens(network, lens, images if lens == "downsampling" else None)
        seconds = f"{time.process_time() - start:.1f}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        rows.append(facts | scored | {"lens": lens, "seconds": seconds, "peak_mb": peak})
    return rows


def score_lens(network: nn.Module, lens: str, images: torch.Tensor | None = None) -> dict[str, object]:
    """Score a network, and say how many rows of which kinds came out, or why none did."""
    options: dict[str, Any] = {"operator_gflop": 0.0} if lens == "spectra" else {}
    try:
        table = filterlens.measure(network, images, lens=lens, **options)
    except (LensSkipped, InputError) as reason:
        return {"status": "refused", "rows": 0, "reason": str(reason)}
    check(table)
    main = dict(Counter(table["kind"]).most_common(4))
    found: dict[str, object] = {"status": "scored", "rows": len(table), "reason": ""}
    found["kernels"] = ", ".join(f"{n} {kind}" for kind, n in main.items())
    if images is not None:
        found["replay_error"] = f"{replay_error(network, images)[0]:.1g}"
    return found


def check(table: pd.DataFrame) -> None:
    """Raise where a score is outside its bounds or infinite, or a layer has no score and no note says why."""
    scores = {name: facts for name, facts in all_scores().items() if name in table}
    for name, facts in scores.items():
        values = table[name].dropna().to_numpy(dtype=np.float64)
        low, high = (end if end is not None else sign * np.inf for end, sign in zip(facts.bounds, (-1, 1), strict=True))
        slack = 1e-6 * max(1.0, *(abs(end) for end in (low, high) if np.isfinite(end)), 0.0)
        wrong = values[~np.isfinite(values) | (values < low - slack) | (values > high + slack)]
        if len(wrong):
            raise ValueError(f"{name} of {wrong[0]} is outside [{low}, {high}]")
    silent = table[table[list(scores)].isna().all(axis=1) & (table["note"].fillna("") == "")]
    if len(silent):
        raise ValueError(f"{silent['layer'].iloc[0]} has no score, and no note says why")


def run(out: Path, largest: float, seconds: float) -> None:
    """Add the rows of every network that is not there yet, until the time is over."""
    deadline = time.monotonic() + seconds
    torch.set_num_threads(1)
    for lens in LENSES:  # imports what the children need
        filterlens.measure(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 32, 3)), lens=lens)
    if not out.exists():
        out.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    rows = read(out)
    done = {(row["architecture"], row["lens"]) for row in rows}
    named = {name for name, lens in done if lens in LENSES}
    settled = {row["architecture"]: row["status"] for row in rows if not row["lens"]}  # same, not built or failed
    first = first_of_families()
    ran = {network.digest: network.name for network in networks() if (network.name, LENSES[-1]) in done}

    def turn(network: Network) -> tuple[bool, float, bool]:
        opens = network.name in first and network.name not in named and network.size <= MODERATE
        return not opens, network.size, network.name not in named

    for network in sorted(networks(), key=turn):
        if network.size > largest or settled.get(network.name, "same") != "same":
            continue
        twin = ran.get(network.digest, network.name)
        own = network.name in named or twin == network.name
        lenses = [*(LENSES if own else ()), *(["downsampling"] if network.name in first else [])]
        lenses = [lens for lens in lenses if (network.name, lens) not in done]
        found: list[dict[str, object]] = []
        facts: dict[str, object] = {"architecture": network.name, "family": network.family, "lens": ""}
        facts["parameters"] = network.parameters
        if not network.digest:
            found.append(facts | {"status": "not built", "reason": network.reason})
        elif network.name not in settled and not own:
            found.append(facts | {"status": "same", "same_as": twin})
        if network.digest and lenses and time.monotonic() < deadline:
            scored = apart(network, lenses, min(LONGEST, deadline - time.monotonic()))
            if scored and scored[-1]["lens"]:
                ran[network.digest] = twin
            found += scored
        with out.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, FIELDS, restval="", lineterminator="\n").writerows(found)


def apart(network: Network, lenses: Sequence[str], seconds: float) -> list[dict[str, object]]:
    """Score one network in a process of its own; whatever befalls it is one row, and nothing where time runs out."""
    context = multiprocessing.get_context("fork")  # a child has everything imported
    results: SimpleQueue[list[dict[str, object]] | str] = context.SimpleQueue()

    def child() -> None:
        warnings.simplefilter("ignore")
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        try:
            results.put(score(network, lenses))
        except Exception as error:  # noqa: BLE001 - one network never stops the others
            results.put(f"{type(error).__name__}: {error}")

    process = context.Process(target=child, daemon=True)
    process.start()
    process.join(seconds)
    late = process.is_alive()
    process.kill()
    if late and seconds < LONGEST:
        return []  # for a run with more time
    found = f"ended without a word within {seconds:.0f} s" if results.empty() else results.get()
    if isinstance(found, list):
        return found
    reason = found.splitlines()[0][:200]
    return [{"architecture": network.name, "family": network.family, "status": "failed", "lens": "", "reason": reason}]


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, restval=""))


def page(rows: list[dict[str, str]]) -> str:
    """Say how much was run, and what became of it, by family."""
    every = networks()
    run_names = {row["architecture"] for row in rows if row["status"] in {"scored", "refused"}}
    whole = {row["architecture"] for row in rows if row["lens"] == LENSES[-1]}
    same = {row["architecture"] for row in rows if row["status"] == "same"}
    unbuilt = {row["architecture"] for row in rows if row["status"] == "not built"}
    failed = {row["architecture"] for row in rows if row["status"] == "failed"}
    distinct = {network.digest for network in every if network.digest}
    covered = {network.digest for network in every if network.name in whole}
    replayed = [float(row["replay_error"]) for row in rows if row["replay_error"]]
    families = sorted({row["family"] for row in rows if row["family"]})
    of_timm = sum(not network.name.startswith(PREFIX) for network in every)
    lines = [
        "# Coverage\n",
        "Generated by `python benchmarks/architecture_coverage.py --table` from [coverage.csv](coverage.csv): "
        f"the {of_timm} architectures of timm {timm.__version__} that have pretrained weights and the "
        f"{len(every) - of_timm} models of RobustBench, built with random weights and scored by the three lenses that "
        "need weights only. Cells say how many were scored, and of which filter sizes, or why not.\n",
        f"To these lenses the {len(every)} names are {len(distinct)} networks, of which **{len(covered)} were run** by "
        f"all three ({len(whole)} names). {len(same)} names were not run: each is the same as one that was, given in "
        "the column `same_as`. Two names count as the same where the type, name, shape and number type of everything "
        "that has weights, the strides and groups of convolutions and the order of fused attention heads agree "
        "([coverage_networks.csv](coverage_networks.csv) has a digest of it); all that the table says follows from "
        "these, as the lenses look at nothing else but the numbers, and at one forward pass for the depth of layers, "
        "which the table does not show. "
        f"{len(unbuilt)} names cannot be built here, {len(failed)} failed. "
        f"{_missing(every, whole | same | unbuilt)}\n",
        "The weights are what a library initialises or, where only weights are needed, normal random numbers; a score "
        "outside its bounds is a failure. One of each family is also scored by the downsampling lens, on two images of "
        "noise at its own size, and its captured operations are **replayed**: each is computed as its dense map, "
        "subsampled, and the network must give its own output. The largest difference is "
        f"{max(replayed, default=0):.0e} of the largest output, over {len(replayed)} of "
        f"{len(first_of_families())} families.\n",
        "| family | run | the same | filters | frequency | spectra | downsampling | replay error | "
        "largest, million parameters | peak, MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for family in families:
        own = [row for row in rows if row["family"] == family]
        cells = [cell([row for row in own if row["lens"] == lens]) for lens in LENSES]
        once = next((row for row in own if row["lens"] == "downsampling"), None)
        cells += [once["kernels"] or once["status"], once["replay_error"]] if once else ["", ""]
        largest = max(float(row["parameters"] or 0) for row in own)
        peak = max(int(row["peak_mb"] or 0) for row in own)
        names = {row["architecture"] for row in own}
        counts = f"{len(names & run_names)} | {len(names & same)}"
        lines.append(f"| {family} | {counts} | {' | '.join(cells)} | {largest:.0f} | {peak} |")
    lines += [
        "",
        "## Refused",
        "",
        "What may stand here, and the test that each reason has: `tests/test_coverage.py`.",
        "",
    ]
    refused = Counter((row["lens"], row["reason"].partition(" ")[2]) for row in rows if row["status"] == "refused")
    lines += [f"- {n} x by {lens}: {reason}" for (lens, reason), n in refused.most_common()] or ["- none"]
    for title, status in (("Not built", "not built"), ("Failed", "failed")):
        listed = [f"- `{row['architecture']}`: {row['reason']}" for row in rows if row["status"] == status]
        lines += ["", f"## {title}", "", *(listed or ["- none"])]
    return "\n".join([*lines, ""])


def _missing(every: Sequence[Network], seen: set[str]) -> str:
    """Say which networks are still to be run."""
    rest = sorted((network for network in every if network.name not in seen), key=lambda network: network.size)
    if not rest:
        return "None is missing."
    return (
        f"Still to be run are {len(rest)} names. The order is by size, so that these are the largest: from "
        f"{rest[0].size:.1f} (`{rest[0].name}`) to {rest[-1].size:,.1f} million parameters (`{rest[-1].name}`)."
    )


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
    parser.add_argument("--largest", type=float, default=float("inf"), help="million parameters; all by default")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        (options.out.parent / "coverage.md").write_text(page(read(options.out)), encoding="utf-8")
    else:
        run(options.out, options.largest, options.seconds)


if __name__ == "__main__":
    main()
