"""The commands by which a payload comes in, and the benign files that must still succeed beside it."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from hostile.benign import CORRUPTION, FONTS, GOOD_MODEL, TABLE, TRAIN
from hostile.payload import Payload

__all__ = ["BATCH", "command"]

#: How many payloads one command takes at most.
BATCH = {"audit": 40, "folder": 40}

Placed = Sequence[tuple[Payload, Path]]


def command(way: str, placed: Placed, work: Path, good: Path) -> list[str]:
    """Arrange payloads that are written already, and return the command's arguments.

    Parameters
    ----------
    way
        One of `hostile.payload.WAYS`.
    placed
        Payloads with the path of each one's file; several only where `BATCH` has the way.
    work
        An empty folder: what the command writes goes into its `out`.
    good
        A folder of benign files (see `hostile.benign`).
    """
    return _WAYS[way](placed, work, good)


def _inspect(placed: Placed, work: Path, good: Path) -> list[str]:
    return ["inspect", str(placed[0][1])]


def _compare(placed: Placed, work: Path, good: Path) -> list[str]:
    return ["compare", str(placed[0][1]), str(good / "good.pt")]


def _check(placed: Placed, work: Path, good: Path) -> list[str]:
    return ["check", str(placed[0][1]), "--max-sparsity", "1"]


def _audit(placed: Placed, work: Path, good: Path) -> list[str]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["model_id", "source"])
    for number, (_, path) in enumerate(placed):
        writer.writerow([f"bad-{number}", path])
    writer.writerow(["good", good / "good.pt"])
    (work / "zoo.csv").write_text(text.getvalue(), encoding="utf-8")
    return ["audit", "-l", str(work / "zoo.csv"), "--out", str(work / "out")]


def _folder(placed: Placed, work: Path, good: Path) -> list[str]:
    folder = work / "checkpoints"
    folder.mkdir()
    for number, (_, path) in enumerate(placed):
        path.rename(folder / f"epoch-{number}{path.suffix}")
        for other in path.parent.iterdir():
            if not (folder / other.name).exists():
                other.rename(folder / other.name)
    shutil.copyfile(good / "good.pt", folder / "epoch-9999.pt")
    return ["audit", "--folder", str(folder), "--out", str(work / "out")]


def _run(name: str, *last: str) -> Callable[[Placed, Path, Path], list[str]]:
    """Make a way that is given a run folder; payloads are written over a benign run (`hostile.payloads.runs`)."""

    def way(placed: Placed, work: Path, good: Path) -> list[str]:
        return [name, str(placed[0][1]), *last]

    return way


def _filterdb(placed: Placed, work: Path, good: Path) -> list[str]:
    return ["import", "filterdb", str(placed[0][1]), "--out", str(work / "out")]


def _data(placed: Placed, work: Path, good: Path) -> list[str]:
    path = placed[0][1]
    if placed[0][0].kind == "font":
        return [*FONTS, str(path), "--out", str(work / "out")]
    return ["inspect", f"fonts-linf/{GOOD_MODEL}", "--lens", "downsampling", "--data", str(path)]


def _manifold(placed: Placed, work: Path, good: Path) -> list[str]:
    given = placed[0][1]
    named = given.read_text(encoding="utf-8") if given.name == "argument.txt" else str(given)
    return ["extract", "-l", "fonts-linf", "--models", GOOD_MODEL, "--lens", "manifold", "--manifold", named, "--data", str(good / "images.npz"), "--images", "2", "--fast", "--out", str(work / "out")]  # fmt: skip


def _catalog(placed: Placed, work: Path, good: Path) -> list[str]:
    return ["extract", "-l", str(placed[0][1]), "--out", str(work / "out")]


def _server(placed: Placed, work: Path, good: Path) -> list[str]:
    return ["inspect", (placed[0][1]).read_text(encoding="utf-8")]


def _jobs(placed: Placed, work: Path, good: Path) -> list[str]:
    return ["extract", "-l", str(placed[0][1]), "--jobs", "2", "--out", str(work / "out")]


def _training(placed: Placed, work: Path, good: Path) -> list[str]:
    return [*TRAIN, "--data", str(placed[0][1]), "--out", str(work / "out")]


def _corrupted(placed: Placed, work: Path, good: Path) -> list[str]:
    return [*CORRUPTION, "--data", str(good / "images.npz"), "--corrupted", str(placed[0][1]), "--out", str(work / "out")]  # fmt: skip


_WAYS: dict[str, Callable[[Placed, Path, Path], list[str]]] = {
    "inspect": _inspect,
    "compare": _compare,
    "check": _check,
    "audit": _audit,
    "folder": _folder,
    "analyze": _run("analyze"),
    "report": _run("report"),
    "filterdb": _filterdb,
    "data": _data,
    "manifold": _manifold,
    "catalog": _catalog,
    "server": _server,
    "jobs": _jobs,
    "card": _run("card", "a"),
    "table": _run("table", *TABLE),
    "training": _training,
    "corrupted": _corrupted,
}
