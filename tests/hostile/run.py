"""Run the hostile collection: `python -m hostile.run --ways inspect,audit --kinds pickle --sample 50 --seed 0`.

Results that the CSV file holds already are kept, and their payloads not run again, unless something was found.

One child process a way takes payloads in batches and is started anew when it hangs, crashes or takes too much. What
goes wrong in a batch of several payloads is run again one by one, to name the one at fault.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostile.payload import WAYS, Payload

__all__ = ["Result", "markdown", "offences", "read_results", "run"]

COLUMNS = ("executed", "sockets", "writes", "reads", "unforeseen", "over budget")
HEADING = ("way", "kind", "id", *COLUMNS, "exit code", "seconds", "megabytes")
_HANG = 90.0
_WAIT = 60.0
_MOST = 3 << 30
_EVERY = 100


@dataclass
class Result:
    """What one payload did by one way."""

    way: str
    id: str
    flags: dict[str, list[str]] = field(default_factory=dict)
    code: object = ""
    seconds: float = 0.0
    megabytes: int = 0
    said: str = ""

    @property
    def kind(self) -> str:
        """The payload's kind."""
        return self.id.partition("/")[0]


class _Process:
    """A child, its folder, and what it answers."""

    def __init__(self, ways: Sequence[str], good: Path) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="hostile-"))
        names = {"HOME": "home", "FILTERLENS_CACHE": "cache", "TMPDIR": "tmp", "HF_HOME": "cache/hf", "MPLCONFIGDIR": "cache/mpl", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "home/.config"}  # fmt: skip
        environment = {**os.environ, **{name: str(self.root / place) for name, place in names.items()}}
        tests = Path(__file__).parents[1]
        environment |= {
            "PYTHONPATH": f"{tests}:{os.environ.get('FILTERLENS_SOURCE', tests.parent)}",
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "TERM": "dumb",
        }
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONFAULTHANDLER": ""}
        for place in names.values():
            (self.root / place).mkdir(parents=True, exist_ok=True)
        self.errors = (self.root / "errors").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "hostile.child", str(self.root), str(good), ",".join(ways)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=environment, cwd=tests, start_new_session=True,
        )  # fmt: skip
        if "failed" in (first := self._answer()):
            raise RuntimeError(f"the child does not start: {first} {(self.root / 'errors').read_text()[-2000:]}")

    def ask(self, job: dict[str, object]) -> dict[str, Any]:
        """Send a job, and return the answer or how the child failed."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"failed": f"died: {self.process.wait()}"}
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        """Wait for a line: as long as the child works within its budget, but not for one that only waits."""
        assert self.process.stdout is not None
        before = self._spent()
        spent, since = before, time.monotonic()
        while True:
            ready, _, _ = select.select([self.process.stdout], [], [], 0.1)
            if ready:
                line = self.process.stdout.readline()
                return json.loads(line) if line else {"failed": f"crashed: {self.process.wait()}"}
            if self._resident() > _MOST:
                return {"failed": f"memory over {_MOST >> 20} MB"}
            if (now := self._spent()) > spent + 0.3:
                spent, since = now, time.monotonic()
            if spent - before > _HANG:
                return {"failed": f"hung: {_HANG:.0f} s of processor time"}
            if time.monotonic() - since > _WAIT:
                return {"failed": f"waited for {_WAIT:.0f} s"}

    def _spent(self) -> float:
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def _resident(self) -> int:
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> None:
        """Kill the child and all of its children, and forget its folder."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()
        shutil.rmtree(self.root, ignore_errors=True)


class _Runner:
    """Runs payloads through as many children as that takes."""

    def __init__(self, ways: Sequence[str], good: Path, options: Sequence[str]) -> None:
        self.ways, self.good, self.options = ways, good, list(options)
        self.wrong: list[str] = []
        self.learnt: set[str] = set()
        self.child = _Process(ways, good)

    def results(self, way: str, payloads: Sequence[Payload], batch: int) -> Iterator[Result]:
        """Yield one result a payload; benign files come before, after, and in between."""
        self.control(way, "before")
        for start in range(0, len(payloads), batch):
            if start and start // _EVERY != (start - batch) // _EVERY:
                self.control(way, f"after {payloads[start - 1].id}")
            part = payloads[start : start + batch]
            answer = self._ask(way, part)
            if len(part) > 1 and (answer.get("flags") or "failed" in answer):
                for payload in part:
                    yield self._result(way, payload, self._ask(way, [payload]))
            else:
                for payload in part:
                    yield self._result(way, payload, answer)
        self.control(way, "at the end")

    def control(self, way: str, when: str) -> None:
        """See that benign files still succeed."""
        answer = self.child.ask({"way": way})
        self.learnt.add(way)
        self.wrong += [f"benign files, {way}, {when}: {text}" for text in answer.get("wrong", [answer.get("failed")])]
        if "failed" in answer:
            self._restart()

    def _restart(self) -> None:
        self.child.end()
        self.child = _Process(self.ways, self.good)
        self.learnt = set()

    def _ask(self, way: str, part: Sequence[Payload]) -> dict[str, Any]:
        if way not in self.learnt:
            self.control(way, "after a restart")
        answer = self.child.ask({"way": way, "ids": [payload.id for payload in part], "options": self.options})
        if "failed" in answer:
            answer["said"] = (self.child.root / "errors").read_text(errors="replace").strip()[-300:]
            self._restart()
        return answer

    def _result(self, way: str, payload: Payload, answer: dict[str, Any]) -> Result:
        if "failed" in answer:
            sort = "unforeseen" if answer["failed"].startswith(("crashed", "died")) else "over budget"
            return Result(way, payload.id, {sort: [answer["failed"]]}, "", said=answer.get("said", ""))
        keys = ("flags", "code", "seconds", "megabytes", "said")
        return Result(way, payload.id, *(answer[key] for key in keys))


@contextlib.contextmanager
def _running(ways: Sequence[str], good: Path, options: Sequence[str]) -> Iterator[_Runner]:
    runner = _Runner(ways, good, options)
    try:
        yield runner
    finally:
        runner.child.end()


def run(
    ways: Sequence[str] = WAYS,
    kinds: Sequence[str] = (),
    *,
    sample: int = 0,
    seed: int = 0,
    contains: str = "",
    options: Sequence[str] = (),
    done: Collection[tuple[str, str]] = (),
    tell: Callable[[Result], None] | None = None,
) -> tuple[list[Result], list[str]]:
    """Run payloads and return every result, and what went wrong with benign files.

    Parameters
    ----------
    ways, kinds
        Which; all kinds where none is named.
    sample
        How many of each kind and way, chosen by the seed; 0 is all.
    contains
        Parts of the id, separated by `|`.
    options
        Further options of every command.
    done
        Ways and ids of payloads that are not to be run.
    tell
        Called with every result.
    """
    from hostile.benign import make_benign
    from hostile.payloads import collection
    from hostile.ways import BATCH

    results: list[Result] = []
    every = collection()
    with contextlib.ExitStack() as stack:
        good = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-good-"))).resolve()
        make_benign(good)
        runner = stack.enter_context(_running(ways, good, options))
        for way in ways:
            chosen = [
                p
                for p in every
                if way in p.ways
                and (not kinds or p.kind in kinds)
                and any(part in p.id for part in contains.split("|"))
            ]
            if sample:
                chosen = _sampled(chosen, sample, f"{seed} {way}")
            chosen = [payload for payload in chosen if (way, payload.id) not in done]
            if not chosen:
                continue
            for result in runner.results(way, chosen, BATCH.get(way, 1)):
                results.append(result)
                if tell is not None:
                    tell(result)
    return results, runner.wrong


def offences(ways: Sequence[str], *, sample: int, seed: int = 0) -> list[str]:
    """Run a part of the collection, and return one line for everything that should not be; see `run`."""
    results, wrong = run(ways, sample=sample, seed=seed)
    if not results:
        return [f"no payload comes in by {', '.join(ways)}"]
    return [f"{result.way} {result.id}: {result.flags}" for result in results if result.flags] + wrong


def _sampled(payloads: list[Payload], sample: int, seed: str) -> list[Payload]:
    chooser = random.Random(seed)
    kinds: dict[str, list[Payload]] = {}
    for payload in payloads:
        kinds.setdefault(payload.kind, []).append(payload)
    return [p for own in kinds.values() for p in chooser.sample(own, min(sample, len(own)))]


def markdown(results: Sequence[Result]) -> str:
    """One row a kind and way: how many payloads, and how many did what."""
    lines = [f"| kind | way in | payloads | {' | '.join(COLUMNS)} |", f"|---|---|{'---:|' * (1 + len(COLUMNS))}"]
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.kind, result.way), []).append(result)
    for (kind, way), own in sorted(groups.items()):
        lines.append(f"| {kind} | {way} | {len(own)} | {' | '.join(str(n) for n in _counts(own))} |")
    lines.append(f"| all | all | {len(results)} | {' | '.join(str(n) for n in _counts(results))} |")
    return "\n".join(lines) + "\n"


def read_results(path: Path) -> list[Result]:
    """Read what a run has written."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Result(row["way"], row["id"], {name: [row[name]] for name in COLUMNS if row[name]})
            for row in csv.DictReader(file)
        ]


def _counts(results: Sequence[Result]) -> list[int]:
    found = Counter(name for result in results for name in result.flags)
    return [found[name] for name in COLUMNS]


def main() -> None:
    """Parse the command line, run, and print the table; exit code 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--kinds", default="")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contains", default="")
    parser.add_argument("--csv", type=Path, default=Path("hostile.csv"))
    parser.add_argument("--table", action="store_true", help="only print the table of the results that are there")
    given = parser.parse_args()
    if given.table:
        print(markdown(read_results(given.csv)))
        return
    given.csv.parent.mkdir(parents=True, exist_ok=True)
    rows = _sound_rows(given.csv) if given.csv.is_file() else []
    with given.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADING)
        writer.writerows(rows)

        def tell(result: Result) -> None:
            cells = [" ; ".join(result.flags.get(name, [])) for name in COLUMNS]
            writer.writerow([result.way, result.kind, result.id, *cells, result.code, result.seconds, result.megabytes])  # fmt: skip
            file.flush()
            if result.flags:
                print(f"{result.way} {result.id}: {json.dumps(result.flags)[:400]} {result.said}", flush=True)

        kinds = [kind for kind in given.kinds.split(",") if kind]
        done = {(row[0], row[2]) for row in rows}
        results, wrong = run(given.ways.split(","), kinds, sample=given.sample, seed=given.seed, contains=given.contains, done=done, tell=tell)  # fmt: skip
    print(markdown(read_results(given.csv)))
    for text in wrong:
        print(text)
    sys.exit(1 if wrong or any(result.flags for result in results) else 0)


def _sound_rows(path: Path) -> list[list[str]]:
    """Rows of an earlier run but those in which something was found, which are run again."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in list(csv.reader(file))[1:] if not any(row[3 : 3 + len(COLUMNS)])]


if __name__ == "__main__":
    main()
