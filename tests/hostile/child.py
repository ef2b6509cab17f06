"""A child process of the runner: commands in-process, one after the other, watched.

It reads one job a line from its input and writes one result a line: what was seen of each command. It is ended and
started anew by the runner when it hangs, crashes or takes too much.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import sys
import traceback
import warnings
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

from hostile.markup import active
from hostile.payload import RUN_WAYS, TOKEN, Case, Payload
from hostile.watch import Opened, Watch, tree

SECONDS, SECONDS_A_MB, SECONDS_A_LAYER = 10.0, 1.0, 0.012
BYTES, BYTES_A_BYTE = 200 << 20, 8
#: What a command costs on benign files, in seconds of processor time.
BASE = {"audit": 25, "folder": 25, "report": 25, "jobs": 30, "server": 5}
_UNFORESEEN = re.compile(
    r"is a bug|Traceback \(most recent|\b(?:[A-Z]\w*(?:Error|Exception|Warning|Interrupt|Exit)|StopIteration): "
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Child:
    """Runs jobs in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("home", "cache", "tmp", "cwd", "outside", "cases", "markers"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.secret = root / "outside" / "secret.bin"
        self.watch = Watch(root / "events.jsonl")
        self.opened = Opened(root / "outside")
        self.number = 0
        self.known: set[tuple[str, str]] = set()
        self.said: dict[str, str] = {}
        self.server: Any = None

    def learn(self, way: str, good: Path) -> list[str]:
        """Run benign files twice; return what went wrong in the second, after learning from the first."""
        from hostile.benign import controls

        wrong: list[str] = []
        for again in (False, True):
            work = self.root / "cases" / f"control-{way}"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            for argv in controls(way, good, work):
                seen = self._execute(argv, [work, good])
                if not again:
                    sorts = {"code", "find_class", "process"}
                    self.known |= {_plain(event) for event in seen["events"] if event[0] in sorts}
                elif seen["code"] != 0:
                    wrong.append(f"{' '.join(argv[:2])}: exit code {seen['code']}: {seen['output'][-300:]}")
                elif fresh := [event for event in seen["events"] if _plain(event) not in self.known]:
                    wrong.append(f"{' '.join(argv[:2])}: {fresh[:3]}")
                if argv[0] == "inspect" and self.said.setdefault(" ".join(argv), seen["output"]) != seen["output"]:
                    wrong.append(f"{' '.join(argv[:2])}: another answer than before")
        return wrong

    def run(self, way: str, payloads: list[Payload], good: Path, options: list[str]) -> dict[str, Any]:
        """Write payloads, run the command, and say what was seen."""
        from hostile.ways import command

        self.number += 1
        place = self.root / "cases" / f"{self.number}"
        work = place / "work"
        work.mkdir(parents=True)
        self._secret()
        placed, markers, size = [], [], 0
        port = self.server.port if self.server else 0
        for number, payload in enumerate(payloads):
            folder = place / f"{number}"
            folder.mkdir()
            markers.append(self.root / "markers" / f"{TOKEN}-{self.number}-{number}")
            (place / "good").unlink(missing_ok=True)
            (place / "good").symlink_to(good)
            payload.write(Case(folder, markers[-1], self.secret, port))
            placed.append((payload, folder / payload.file))
            size += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
        argv = command(way, placed, work, good) + options
        if way == "jobs":  # started where the trap is, not where an earlier case was
            forkserver._forkserver._stop()  # type: ignore[attr-defined]
            resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
        cached = self._cached()
        runs = [folder for _, folder in placed] if way in RUN_WAYS else [work / "out"]
        roots = [self.root / "home", self.root / "outside", *(place / f"{n}" for n in range(len(payloads)))]
        before = tree(*roots)
        self.opened.seen()
        granted = SECONDS * len(payloads) + SECONDS_A_MB * size / (1 << 20)
        granted += SECONDS_A_LAYER * sum(payload.layers for payload in payloads)
        seen = self._execute(argv, runs, size=size, way=way, granted=granted)
        own = tuple(f"{run}" for run in runs)
        changed = [p for p, state in tree(*roots).items() if before.pop(p, None) != state and not p.startswith(own)]
        changed += [path for path in before if not path.startswith(own)]
        flags = self._judge(seen, [m for p in payloads for m in p.modules])
        flags["executed"] += [f"marker of {payloads[n].id}" for n, m in enumerate(markers) if m.exists()]
        flags["writes"] += [f"changed {path}" for path in changed]
        if seen["code"] != 0 and not any(payload.modules for payload in payloads):
            flags["writes"] += [f"cached though refused: {path}" for path in self._cached() - cached]
        flags["reads"] = [f"opened {name}" for name in self.opened.seen() if name == self.secret.name]
        if any(payload.reaches for payload in payloads):
            flags |= {"sockets": [], "reads": []}
        flags["unforeseen"] += self._pages(runs)
        os.chdir(self.root / "cwd")
        for marker in markers:
            marker.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        return {
            "flags": {name: found[:3] for name, found in flags.items() if found},
            "code": seen["code"],
            "seconds": round(seen["cpu"], 2),
            "megabytes": round(seen["peak"] / (1 << 20)),
            "said": (seen["output"].strip().splitlines() or [""])[-1][:200],
        }

    def _cached(self) -> set[str]:
        """Files that downloads by address have left in the cache."""
        return {str(path) for path in (self.root / "cache" / "url").rglob("*") if path.is_file()}

    def _secret(self) -> None:
        originals = {self.secret: b"secret" + bytes(4090)}
        originals |= {self.root / "home" / name: b"# untouched\n" for name in (".bashrc", ".profile")}
        for path, content in originals.items():
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        for path in self.secret.parent.iterdir():
            if path != self.secret:
                path.unlink()

    def _execute(
        self, argv: list[str], writable: list[Path], size: int = 0, way: str = "", granted: float = 0
    ) -> dict[str, Any]:
        """Call the command line's entry function, as the console script would."""
        from filterlens.cli import main

        out = self.root / "output"
        saved = os.dup(1), os.dup(2)
        file = os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        sys.argv = ["filterlens", *argv]
        Path("/proc/self/clear_refs").write_text("5")
        held = _peak()
        cpu = _cpu()
        code: object = 0
        allowed = [*writable, self.root / "cache", self.root / "tmp", self.root / "output"]
        self.watch.start(allowed, (self.server.port, self.server.hub) if self.server else ())
        try:
            with warnings.catch_warnings():
                main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:  # noqa: BLE001 - whatever escapes is the finding
            code = "escaped"
            traceback.print_exc()
        finally:
            events = self.watch.stop()
            sys.stdout.flush()
            sys.stderr.flush()
            for number, kept in zip((1, 2), saved, strict=True):
                os.dup2(kept, number)
                os.close(kept)
        text = out.read_bytes()[:1_000_000].decode("utf-8", "replace")
        budget = BASE.get(way, 0) + granted if way else 1e9
        room = (BYTES * (3 if way in BASE else 1) + BYTES_A_BYTE * size) if way else 1 << 60
        spent, peak = _cpu() - cpu, _peak() - held
        over = [f"{spent:.0f} s of {budget:.0f} s"] if spent > budget else []
        over += [f"{peak >> 20} MB of {room >> 20} MB"] if peak > room else []
        return {"code": code, "output": text, "events": events, "cpu": spent, "peak": peak, "over": over}

    def _judge(self, seen: dict[str, Any], modules: list[str]) -> dict[str, list[str]]:
        flags: dict[str, list[str]] = {n: [] for n in ("executed", "sockets", "writes", "unforeseen", "over budget")}
        for sort, what in seen["events"]:
            if _plain((sort, what)) in self.known:
                continue
            if sort in {"executed", "code", "process"}:
                flags["executed"].append(f"{sort}: {what}")
            elif sort == "find_class" and what.rpartition(".")[0] in modules:
                flags["executed"].append(f"found {what}")
            elif sort == "socket":
                flags["sockets"].append(what)
            elif sort == "write":
                flags["writes"].append(what)
        output = seen["output"]
        if seen["code"] not in {0, 1, 2}:
            flags["unforeseen"].append(f"exit code {seen['code']}")
        if found := _UNFORESEEN.search(output):
            flags["unforeseen"].append(output[max(0, found.start() - 80) : found.end() + 120])
        if found := _CONTROL.search(output):
            flags["unforeseen"].append(f"control character {found[0]!r} in the output")
        flags["over budget"] += seen["over"]
        return flags

    def _pages(self, runs: list[Path]) -> list[str]:
        """Markup of the payload that reached a page unescaped."""
        for run in runs:
            for page in sorted(run.rglob("*")) if run.is_dir() else ():
                if page.suffix not in {".html", ".md"} or not page.is_file():
                    continue
                if found := active(page.read_text(encoding="utf-8", errors="replace")):
                    return [f"active markup in {page.name}: {found[:100]}"]
        return []


def _plain(event: tuple[str, str]) -> tuple[str, str]:
    """An event without the names of this run's files."""
    return event[0], re.sub(r"/[^ '\"]+", "PATH", re.sub(r"[0-9]+", "#", event[1]))


def _peak() -> int:
    text = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) * 1024


def _cpu() -> float:
    own, below = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime


def main() -> None:
    """Answer jobs until the input ends."""
    root, good = Path(sys.argv[1]), Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.dont_write_bytecode = True
    child = Child(root)
    os.chdir(root / "cwd")
    if "server" in sys.argv[3].split(","):
        from hostile.server import Server

        child.server = Server()  # before anything reads where the hub is
    from filterlens.loaders import transfer

    transfer.RETRIES = transfer.Retries(attempts=2, first=0.01)  # a busy server is payload enough once
    from hostile.payloads import by_id

    known = by_id()
    answers.write("{}\n")
    for line in sys.stdin:
        job = json.loads(line)
        if "ids" in job:
            answer = child.run(job["way"], [known[name] for name in job["ids"]], good, job["options"])
        else:
            answer = {"wrong": child.learn(job["way"], good)}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
