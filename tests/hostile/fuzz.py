"""Mutate valid files of every container: `python -m hostile.fuzz --cases 1000000 --out DIR`.

Each case is decided by its number alone. A child process a container reads cases one after the other under a limit of
memory; the runner ends it when a case takes too long. Counts are kept in `DIR/counts.json`, so that a run that was
stopped goes on; files that caused anything else than an answer or an error of filterlens are kept in `DIR/offenders`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hostile.seeds import CONTAINERS, prepare

__all__ = ["fuzz", "mutated"]

_SECONDS = 60.0
_MEMORY = 2 << 30
_CHUNK = 500
_MEMORY_DISK = Path("/dev/shm")
_TOKENS = (b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"PK\3\4", b"PK\5\6", b"../", b"\x1b[31m", b"[" * 500, b"9" * 40, b"\x80\x04", b"cos\nsystem\n", b"}", b"NaN", b'"')  # fmt: skip


def mutated(seeds: list[bytes], number: int, container: str) -> bytes:
    """The file of one case: a seed with one to eight changes."""
    chooser = random.Random(f"{container} {number}")
    data = bytearray(chooser.choice(seeds))
    for _ in range(chooser.choice((1, 1, 1, 2, 4, 8))):
        size = max(1, len(data))
        # headers are where formats are decided
        place = chooser.randrange(min(size, chooser.choice((64, 512, 4096, size))))
        place = size - 1 - place if chooser.random() < 0.3 else place
        match chooser.randrange(9):
            case 0 | 1 if data:
                data[place] ^= 1 << chooser.randrange(8)
            case 2 if data:
                data[place] = chooser.randrange(256)
            case 3:
                data[place:place] = chooser.choice(_TOKENS)
            case 4:
                token = chooser.choice(_TOKENS)
                data[place : place + len(token)] = token
            case 5:
                del data[place : place + chooser.choice((1, 2, 8, 64, 512))]
            case 6:
                data[place:place] = data[place : place + chooser.choice((1, 8, 64, 512))] * chooser.choice(
                    (1, 1, 2, 50)
                )
            case 7:
                other = chooser.choice(seeds)
                start = chooser.randrange(len(other))
                data[place : place + 32] = other[start : start + chooser.choice((8, 32, 256))]
            case 8 if chooser.random() < 0.3:
                del data[place:]
    return bytes(data)


def _child(name: str, good: Path) -> None:
    """Answer ranges of cases: a line before each case, and what came of it."""
    container = CONTAINERS[name]
    seeds = container.seeds(good)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    warnings.simplefilter("ignore")
    work = Path(tempfile.mkdtemp(dir=good))
    path = work / f"case{container.suffix}"
    for seed in seeds[:1]:  # imports, and proof that the seed is read
        path.write_bytes(seed)
        answers.write(f"seed {_outcome(name, path)}\n")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    for line in sys.stdin:
        start, stop = map(int, line.split())
        for number in range(start, stop):
            answers.write(f"case {number}\n")
            shutil.rmtree(work / "folder", ignore_errors=True)
            path.unlink()  # another file to whoever remembers files that have passed
            path.write_bytes(mutated(seeds, number, name))
            answers.write(f"done {_outcome(name, path)}\n")
        answers.write("end\n")
    shutil.rmtree(work, ignore_errors=True)


def _outcome(name: str, path: Path) -> str:
    from filterlens.errors import FilterlensError

    begun = time.process_time()
    try:
        CONTAINERS[name].read(path)
        found = "ok"
    except FilterlensError as error:
        found = f"refused {type(error).__name__}"
    except BaseException as error:  # noqa: BLE001 - whatever else comes is the finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        found = f"unforeseen {type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
    return f"slow {found}" if time.process_time() - begun > 5 else found


class _Reader:
    def __init__(self, name: str, good: Path) -> None:
        tests = Path(__file__).parents[1]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{tests}:{os.environ.get('FILTERLENS_SOURCE', tests.parent)}",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hostile.fuzz", "--child", name, "--out", str(good)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        self.buffer = b""
        self.seed = self.line(600)

    def line(self, limit: float) -> str:
        """The next line; `hang` when none comes in time, nothing when the child has ended."""
        assert self.process.stdout is not None
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], limit)
            if not ready:
                return "hang"
            if not (read := os.read(self.process.stdout.fileno(), 65536)):
                return ""
            self.buffer += read
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode().strip()

    def send(self, start: int, stop: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{start} {stop}\n".encode())
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def fuzz(names: list[str], cases: int, out: Path, *, start: int = 0) -> dict[str, dict[str, int]]:
    """Run `cases` in all, by the containers' shares, going on where `out` says, and return the counts."""
    out.mkdir(parents=True, exist_ok=True)
    state = out / "counts.json"
    counts: dict[str, dict[str, int]] = json.loads(state.read_text()) if state.is_file() else {}
    with tempfile.TemporaryDirectory(dir=_MEMORY_DISK if _MEMORY_DISK.is_dir() else None) as folder:
        good = Path(folder)
        prepare(good)
        whole = sum(CONTAINERS[name].share for name in names)
        for name in sorted(names, key=lambda name: CONTAINERS[name].share):
            own = Counter(counts.get(name, {}))
            done, end = start + own.pop("cases", 0), start + -(-cases * CONTAINERS[name].share // whole)
            while done < end:
                for place in _part(name, good, done, end, own, out):
                    done = place
                    counts[name] = {**own, "cases": done - start}
                    state.write_text(json.dumps(counts, indent=1))
    return counts


def _part(name: str, good: Path, done: int, end: int, own: Counter[str], out: Path) -> Iterator[int]:
    """Read cases until the child ends or all are done; yield how far it came, chunk by chunk."""
    reader = _Reader(name, good)
    try:
        if reader.seed != "seed ok":
            own[f"the seed is {reader.seed}"] += 1
        while done < end:
            reader.send(done, min(end, done + _CHUNK))
            while (line := reader.line(_SECONDS)) != "end":
                sort, _, what = line.partition(" ")
                if sort == "case":
                    continue
                if sort != "done":  # no line: it crashed
                    what = "hang" if sort == "hang" else f"crash {reader.process.wait()}"
                own[what] += 1
                if not what.startswith(("ok", "refused")):
                    _keep(name, good, done, what, out)
                done += 1
                if sort != "done":
                    yield done
                    return
            yield done
    except BrokenPipeError:
        yield done
    finally:
        reader.end()


def _keep(name: str, good: Path, number: int, what: str, out: Path) -> None:
    folder = out / "offenders" / name
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.iterdir())) < 400:
        container = CONTAINERS[name]
        label = "".join(c if c.isalnum() else "-" for c in what)[:60]
        (folder / f"{number}-{label}{container.suffix}").write_bytes(mutated(container.seeds(good), number, name))


SORTS = ("ok", "refused", "unforeseen", "slow", "hang", "crash")


def table(counts: dict[str, dict[str, int]]) -> list[list[str]]:
    """One row a container, below a heading and above their sum."""
    rows = [
        [own["cases"], *(sum(n for what, n in own.items() if what.startswith(sort)) for sort in SORTS)]
        for own in counts.values()
    ]
    rows.append([sum(column) for column in zip(*rows, strict=True)])
    named = [[name, *map(str, row)] for name, row in zip([*counts, "all"], rows, strict=True)]
    return [["container", "cases", "read", *SORTS[1:]], *named]


def markdown(rows: list[list[str]]) -> str:
    """The table for a page."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|---|{'---:|' * (len(rows[0]) - 1)}", *lines[1:]]) + "\n"


def main() -> None:
    """Parse the command line, fuzz, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="in all")
    parser.add_argument("--containers", default=",".join(CONTAINERS))
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz"))
    parser.add_argument("--csv", type=Path, help="where the table is written")
    parser.add_argument("--child", default="")
    given = parser.parse_args()
    if given.child:
        _child(given.child, given.out)
        return
    names = given.containers.split(",")
    counts = fuzz(names, given.cases, given.out, start=given.start)
    rows = table(counts)
    print(markdown(rows))
    if given.csv is not None:
        with given.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    bad = {
        name: {what: n for what, n in own.items() if not what.startswith(("ok", "refused", "cases"))}
        for name, own in counts.items()
    }
    print(json.dumps({name: own for name, own in bad.items() if own}, indent=1))
    sys.exit(1 if any(bad.values()) else 0)


if __name__ == "__main__":
    main()
