"""A small finished run, and ways to damage its files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from small_zoo import make_zoo

from filterlens.catalogs import load_catalog
from filterlens.errors import FilterlensError
from filterlens.report.data import read_run
from filterlens.report.write import write_report
from filterlens.runs import analyze, extract

FILES = (
    "dumps/net0-robust.h5",
    "ledger.jsonl",
    "catalog.csv",
    "scores.parquet",
    "analysis.json",
    "report.json",
    "pooled.h5",
)
_TEXTS = (b"[" * 3000, b"{}", b"null", b"1e999", b"-1", b"\x00", b"\xff\xfe", b"../../x", b"\x1b[2J", b'"', b"\n", b",")


def make_finished_run(folder: Path) -> Path:
    """Extract, analyse and report two tiny models."""
    zoo = make_zoo(folder / "zoo", pairs=1)
    run = folder / "run"
    extract(load_catalog(zoo), run)
    analyze(run)
    write_report(run)
    return run


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Flip bits, overwrite numbers, cut, double, insert or (JSON) change types."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(len(found)) if found else 0
        way = rng.randrange(7)
        if way <= 2 and found:
            found[at] ^= 1 << rng.randrange(8)
        elif way == 3:
            size = rng.choice((1, 2, 4, 8))
            found[at : at + size] = rng.choice((b"\xff", b"\x00", b"\x7f", b"\x80")) * size
        elif way == 4:
            del found[at : rng.choice((len(found), at + rng.randrange(64)))]
        elif way == 5:
            found[at:at] = found[at : at + rng.randrange(1, 512)]
        else:
            found[at:at] = rng.choice(_TEXTS)
    return bytes(found)


def mutate_lines(content: bytes, rng: random.Random) -> bytes:
    """Change the type of one value of one JSON line."""
    lines = [json.loads(line) for line in content.splitlines()]
    line = rng.choice(lines)
    values: tuple[object, ...] = (
        None,
        -1,
        1e308,
        float("nan"),
        "",
        "x" * 5000,
        [],
        [1],
        {},
        {"a": {}},
        True,
        "../..",
        "<b>",
        "\x1b[2J",
    )
    line[rng.choice(list(line))] = rng.choice(values)
    return b"".join(json.dumps(found).encode() + b"\n" for found in lines)


def visit(run: Path, name: str) -> str:
    """Do with a damaged run what its user may do; return the class of each error of ours."""
    said = []
    steps: list[Callable[[], object]] = [
        lambda: analyze(run, reuse=True),
        lambda: write_report(run),
        lambda: repr(read_run(run).models),
    ]
    if name in {"scores.parquet", "report.json"}:
        steps = steps[1:] + steps[:1]
    for step in steps:
        try:
            step()
        except FilterlensError as error:
            said.append(f"{type(error).__name__}: {error}")
    return "; ".join(said)


def copy_of(run: Path, to: Path) -> Path:
    """A fresh copy, times kept."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(run, to)
    return to
