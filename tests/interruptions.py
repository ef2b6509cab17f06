"""Send signals to audits at random moments and check what they leave: `make interruptions`.

Every cell (stage, jobs, signal) has chains of interrupted runs of one command on one run folder, each at a moment drawn
from the chain's seed; then the same command runs to its end, and its dumps and scores are those of a run that nobody
interrupted. A line of the results file is one interrupted or one resumed run; chains that are there are not run again.
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import h5py
import pandas as pd
from small_zoo import FIELDS, make_zoo

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("extraction", "download", "analysis", "report")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
JOBS = (1, 2)
LINE = "filterlens: interrupted: what is done is kept; the same command goes on from here"
MARKER = "FILTERLENS_INTERRUPTION_TEST"
SECONDS = 20  # in which every process has to be gone
BLOCK, PAUSE = 1500, 0.02  # of the slow server


@dataclass(frozen=True)
class Row:
    """One run."""

    stage: str
    jobs: int
    signal: str
    chain: int
    run: str  # number of the interrupted run, or `resumed`
    moment: float  # seconds after the command handled signals
    to_group: bool
    code: int
    failure: str


class SlowHandler(http.server.SimpleHTTPRequestHandler):
    """Sends a file a few bytes at a time."""

    def copyfile(self, source: object, outputfile: object) -> None:
        with suppress(OSError):  # who downloads was interrupted
            while block := source.read(BLOCK):  # type: ignore[attr-defined]
                outputfile.write(block)  # type: ignore[attr-defined]
                time.sleep(PAUSE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Bench:
    """A zoo, a slow server of it, what a whole run gives, and how long each stage takes."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.zoo = make_zoo(work / "zoo", pairs=2)
        handler = functools.partial(SlowHandler, directory=str(work / "zoo"))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.remote = self._remote_catalog()
        self.durations: dict[tuple[str, int], float] = {}
        self.prepared = {"extraction": work / "none", "download": work / "none"}
        for stage, command in (("analysis", "extract"), ("report", "analyze")):
            folder = self.prepared[stage] = work / f"for-{stage}"
            if command == "extract":
                subprocess.run([*FILTERLENS, "extract", "-l", self.zoo, "-o", folder], check=True, env=environment())
            else:
                shutil.copytree(self.prepared["analysis"], folder)
                subprocess.run([*FILTERLENS, "analyze", folder], check=True, env=environment())
        self.expected = contents(self.prepared["report"])

    def _remote_catalog(self) -> Path:
        rows = list(csv.DictReader(self.zoo.open(encoding="utf-8")))
        path = self.work / "remote.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            for row in rows:
                name = row["source"]
                digest = hashlib.sha256((self.zoo.parent / name).read_bytes()).hexdigest()
                address = f"http://127.0.0.1:{self.server.server_port}/{name}?sha256={digest}"
                writer.writerow(row | {"source": f"url:{address}"})
        return path

    def command(self, stage: str, jobs: int, folder: Path) -> list[str]:
        """Return the command whose work is the stage: in a prepared folder `audit` begins there."""
        if jobs == 1 and stage in {"analysis", "report"}:
            return [*FILTERLENS, "analyze" if stage == "analysis" else "report", str(folder)]
        what = "extract" if stage in {"extraction", "download"} else "audit"
        catalog = self.remote if stage == "download" else self.zoo
        return [*FILTERLENS, what, "-l", str(catalog), "-o", str(folder), "--jobs", str(jobs)]


FILTERLENS = [str(Path(sys.executable).with_name("filterlens"))]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)} | more


class Place:
    """A run folder, a cache and a folder of temporary files of one chain, and its processes' mark."""

    def __init__(self, bench: Bench, stage: str) -> None:
        self.root = Path(tempfile.mkdtemp(dir=bench.work, prefix="chain-"))
        self.run, self.cache, self.temporary = (self.root / name for name in ("run", "cache", "tmp"))
        self.prepared = bench.prepared[stage]
        self.temporary.mkdir()
        self.mark = uuid.uuid4().hex
        self.prepare()

    def prepare(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.rmtree(self.cache, ignore_errors=True)
        if self.prepared.is_dir():
            shutil.copytree(self.prepared, self.run)

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        own = {MARKER: self.mark, "TMPDIR": str(self.temporary), "FILTERLENS_CACHE": str(self.cache)}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(**own),
            start_new_session=True,
        )  # fmt: skip

    def processes(self) -> list[str]:
        return list(marked(self.mark))

    def temporary_files(self) -> list[str]:
        """Temporary files, wherever they lie."""
        found = list(self.temporary.iterdir())
        found += [*self.run.rglob("*.tmp"), *self.run.rglob(".holder"), *self.cache.rglob(".partial-*")]
        return [str(path.relative_to(self.root)) for path in found]


def marked(mark: str) -> Iterator[str]:
    """Yield living processes that carry the mark in their environment."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARKER}={mark}".encode() in (place / "environ").read_bytes():
                yield f"{place.name} {(place / 'cmdline').read_bytes()[:60]!r}"


def contents(folder: Path) -> dict[str, object]:
    """Return the arrays of all dumps, and the scores where there are any; every file is read whole."""
    found: dict[str, object] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[f"{path.name}:{name}"] = item[()].tobytes()

    for path in sorted(folder.glob("dumps/*.h5")):
        with h5py.File(path) as file:
            file.visititems(keep)
    for path in folder.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    for path in folder.glob("pooled.h5"):
        with h5py.File(path) as file:
            file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
    if (folder / "scores.parquet").is_file():
        found["scores"] = pd.read_parquet(folder / "scores.parquet").to_csv(float_format="%a")
    return found


def whole(folder: Path) -> str:
    """Return what is half-written, or nothing."""
    try:
        contents(folder)
        for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()[:-1]:
            json.loads(line)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        return f"half-written: {error}"
    page = folder / "index.html"
    torn = [page] if page.is_file() and not page.read_text(encoding="utf-8").rstrip().endswith("</html>") else []
    torn += [path for path in folder.glob("figures/*.png") if not path.read_bytes().endswith(b"IEND\xaeB`\x82")]
    return f"half-written: {torn}" if torn else ""


def wait_until_handled(process: subprocess.Popen[str]) -> None:
    """Wait until the command handles SIGTERM: before, Python is starting."""
    bit = 1 << (signal.SIGTERM - 1)
    while process.poll() is None:
        with suppress(OSError, IndexError, ValueError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            if int(status.partition("SigCgt:")[2].split()[0], 16) & bit:
                return
        time.sleep(0.001)


def interrupt(
    place: Place, command: list[str], number: signal.Signals, moment: float, *, group: bool
) -> tuple[int, str]:
    """Run the command, send the signal, and say what went wrong."""
    process = place.start(command)
    wait_until_handled(process)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(process.pid, number)
    try:
        printed, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return 0, f"still there after {SECONDS} s"
    code = process.returncode
    problems = []
    deadline = time.monotonic() + SECONDS
    while place.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    if left := place.processes():
        problems.append(f"processes left: {left}")
    if "Traceback" in printed or "Error" in printed:
        problems.append(f"printed: {printed[-600:]}")
    if number == signal.SIGKILL:
        if code not in {-signal.SIGKILL, 0}:
            problems.append(f"exit code {code}")
    else:
        if code not in {128 + number, 0}:
            problems.append(f"exit code {code}")
        if code and LINE not in printed.splitlines()[-1]:
            problems.append(f"last line: {printed[-200:]!r}")
        if left := place.temporary_files():
            problems.append(f"temporary files left: {left}")
    if torn := whole(place.run):
        problems.append(torn)
    return code, "; ".join(problems)


def resume(place: Place, command: list[str], expected: dict[str, object]) -> tuple[int, str]:
    """Run the command to its end, and say what is not as in a run that nobody interrupted."""
    process = place.start(command)
    printed, _ = process.communicate(timeout=600)
    problems = [] if process.returncode == 0 else [f"exit code {process.returncode}: {printed[-600:]}"]
    found = contents(place.run)
    differing = [name for name in found | expected if found.get(name) != expected.get(name)]
    if "scores" not in found:  # the command was `extract`: scores are a function of the dumps
        differing.remove("scores")
    if differing:
        problems.append(f"differs: {differing[:5]}")
    if left := place.temporary_files():
        problems.append(f"temporary files left: {left}")
    return process.returncode, "; ".join(problems)


def run_chain(bench: Bench, stage: str, jobs: int, number: signal.Signals, chain: int, length: int) -> list[Row]:
    """Interrupt one command again and again, and resume it."""
    draw = random.Random(f"{stage} {jobs} {number.name} {chain}")
    place = Place(bench, stage)
    command = bench.command(stage, jobs, place.run)
    if (stage, jobs) not in bench.durations:
        begun = time.monotonic()
        process = place.start(command)
        wait_until_handled(process)
        begun = time.monotonic()
        process.communicate()
        bench.durations[stage, jobs] = time.monotonic() - begun
        place.prepare()
    rows: list[Row] = []
    while len(rows) < length:
        moment = draw.uniform(0, bench.durations[stage, jobs])
        group = draw.random() < 0.5 and number != signal.SIGKILL
        code, failure = interrupt(place, command, number, moment, group=group)
        if code == 0 and not failure:  # it ended before the signal came
            bench.durations[stage, jobs] = max(0.5, bench.durations[stage, jobs] * 0.9)
            place.prepare()
            continue
        rows.append(Row(stage, jobs, number.name, chain, str(len(rows)), round(moment, 3), group, code, failure))
    code, failure = resume(place, command, bench.expected)
    rows.append(Row(stage, jobs, number.name, chain, "resumed", 0.0, False, code, failure))
    if not any(row.failure for row in rows):
        shutil.rmtree(place.root)
    return rows


def table(path: Path) -> str:
    """Return the counts as a Markdown table."""
    found = pd.read_csv(path, keep_default_na=False)
    lines = ["| stage | jobs | signal | interrupted | failures | resumed | failures |", "|---|--:|---|--:|--:|--:|--:|"]
    for (stage, jobs, number), rows in found.groupby(["stage", "jobs", "signal"], sort=False):
        resumed = rows["run"] == "resumed"
        bad = rows["failure"] != ""
        counts = (int((~resumed).sum()), int((bad & ~resumed).sum()), int(resumed.sum()), int((bad & resumed).sum()))
        lines.append(f"| {stage} | {jobs} | {number} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing in the results file, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "interruptions.csv")
    parser.add_argument("--chains", type=int, default=3)
    parser.add_argument("--length", type=int, default=10, help="interrupted runs of a chain")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--table", action="store_true", help="only print the table of the results that are there")
    arguments = parser.parse_args()
    results: Path = arguments.results
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # commands inherit what `nohup` sets
    if not arguments.table:
        _run_missing(results, arguments.stages, arguments.chains, arguments.length)
    print(table(results))


def _run_missing(results: Path, stages: list[str], chains: int, length: int) -> None:
    header = [field.name for field in fields(Row)]
    done = set()
    if results.is_file():
        with results.open(encoding="utf-8") as file:
            done = {(r["stage"], r["jobs"], r["signal"], r["chain"]) for r in csv.DictReader(file)}
    else:
        results.write_text(",".join(header) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="interruptions-") as work:
        bench = Bench(Path(work))
        for chain in range(chains):
            for stage in stages:
                for number in SIGNALS:
                    for jobs in JOBS:
                        if (stage, str(jobs), number.name, str(chain)) in done:
                            continue
                        rows = run_chain(bench, stage, jobs, number, chain, length)
                        with results.open("a", newline="", encoding="utf-8") as file:
                            csv.writer(file).writerows(astuple(row) for row in rows)
                        for row in rows:
                            if row.failure:
                                print(row, flush=True)


if __name__ == "__main__":
    main()
