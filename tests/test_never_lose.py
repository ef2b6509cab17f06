"""Full disks, read-only folders, Ctrl-C, kills and rivals: one clear line, nothing half-written, and it goes on."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_zoo import make_zoo

from filterlens.catalogs import load_catalog
from filterlens.dumps import DumpReader
from filterlens.runs import analyze, extract
from filterlens.score import read_scores

FILTERLENS = [sys.executable, "-c", "from filterlens.cli import main; main()"]
ENVIRONMENT = os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
INTERRUPTED = "filterlens: interrupted: what is done is kept; the same command goes on from here: filterlens "
KB = 1 << 10
slow = partial(pytest.param, marks=pytest.mark.slow)


def start(*arguments: str | Path, limit: int = 0) -> subprocess.Popen[str]:
    """Start the command line in a session of its own; `limit`: bytes of a file."""
    limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)) if limit else None
    return subprocess.Popen(
        [*FILTERLENS, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, start_new_session=True,
        preexec_fn=limited,  # noqa: PLW1509 - no threads here
    )  # fmt: skip


def run(*arguments: str | Path, code: int, limit: int = 0) -> str:
    """Run the command line to its end and return what it printed, both streams together."""
    process = start(*arguments, limit=limit)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == code, printed
    assert "Traceback" not in printed
    assert "was not foreseen" not in printed
    return printed


def check_whole(folder: Path) -> int:
    """Everything that is there can be read to its last byte; return how many dumps there are."""
    assert not list(folder.rglob("*.tmp")), "a half-written file was left"
    for path in folder.glob("dumps/*.h5"):
        with DumpReader(path) as dump:
            group = dump.lens("filters")
            assert all(np.isfinite(group.read(name)).all() for name in group.names())
    for path in folder.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    if (folder / "scores.parquet").is_file():
        read_scores(folder / "scores.parquet")
    if (folder / "index.html").is_file():
        assert (folder / "index.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    for path in folder.glob("figures/*.png"):
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    return len(list(folder.glob("dumps/*.h5")))


def living(session: int) -> list[str]:
    """Return the processes of a session that are there, the dead that nobody has fetched left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


def wait_for_the_end_of(session: int) -> None:
    deadline = time.monotonic() + 30
    while living(session):
        assert time.monotonic() < deadline, f"{living(session)} outlive the audit"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_zoo(tmp_path_factory.mktemp("zoo"), pairs=4)


@pytest.fixture(scope="module")
def expected(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("expected")
    extract(load_catalog(zoo), folder)
    return analyze(folder)


class Disk:
    """A disk of its own, in memory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ballast = place / "ballast"

    def mount(self, *options: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "filterlens-test", str(self.place)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    def fill(self, free: int) -> None:
        """Leave so many bytes."""
        left = os.statvfs(self.place)
        self.ballast.write_bytes(bytes(max(0, left.f_bavail * left.f_frsize - free)))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no `mount` here")
    disk = Disk(place)
    yield disk
    while os.path.ismount(place):
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up_during_extraction_costs_what_did_not_fit(
    zoo: Path, disk: Disk, expected: pd.DataFrame
) -> None:
    disk.mount("size=100k")
    folder = disk.place / "run"
    printed = run("extract", "-l", zoo, "-o", folder, code=1)
    assert "the disk is full: " in printed
    assert "the same command tries again" in printed
    there = check_whole(folder)
    assert 0 < there < 8
    disk.mount("remount", "size=16m")
    assert f" {there} " in run("extract", "-l", zoo, "-o", folder, code=0).splitlines()[-2]
    assert check_whole(folder) == 8
    pd.testing.assert_frame_equal(analyze(folder), expected, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 4 * KB, 8 * KB, 12 * KB, 20 * KB, 40 * KB])
def test_an_audit_on_a_full_disk_says_so_and_goes_on_once_there_is_space(
    zoo: Path, disk: Disk, expected: pd.DataFrame, free: int
) -> None:
    disk.mount("size=32m")
    disk.fill(free)
    folder = disk.place / "run"
    assert "the disk is full: " in run("audit", "-l", zoo, "-o", folder, code=1)
    check_whole(folder)
    disk.ballast.unlink()
    run("audit", "-l", zoo, "-o", folder, code=0)
    assert check_whole(folder) == 8
    pd.testing.assert_frame_equal(read_scores(folder / "scores.parquet"), expected, check_exact=True)


@pytest.mark.parametrize("free", [0, slow(4 * KB), slow(12 * KB)])
def test_a_full_disk_during_analysis_is_one_line(zoo: Path, disk: Disk, expected: pd.DataFrame, free: int) -> None:
    disk.mount("size=16m")
    folder = disk.place / "run"
    extract(load_catalog(zoo), folder)
    disk.fill(free)
    printed = run("analyze", folder, code=1)
    assert printed.startswith("filterlens: the disk is full: ")
    assert printed.count("\n") == 1
    assert not (folder / "scores.parquet").exists()
    assert check_whole(folder) == 8
    disk.ballast.unlink()
    run("analyze", folder, code=0)
    pd.testing.assert_frame_equal(read_scores(folder / "scores.parquet"), expected, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 4 * KB, 40 * KB])
def test_a_full_disk_during_a_report_is_one_line_and_keeps_the_old_one(zoo: Path, disk: Disk, free: int) -> None:
    disk.mount("size=32m")
    folder = disk.place / "run"
    extract(load_catalog(zoo), folder)
    analyze(folder)
    run("report", folder, code=0)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    disk.fill(free)
    printed = run("report", folder, code=1)
    assert printed.startswith("filterlens: the disk is full: ")
    assert printed.count("\n") == 1
    check_whole(folder)
    assert (folder / "index.html").read_bytes() == before[folder / "index.html"]
    disk.ballast.unlink()
    run("report", folder, code=0)
    assert check_whole(folder) == 8
    assert {path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"} == set(before)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100, 3500, 9000])
def test_a_limit_on_the_size_of_files_is_a_full_disk(
    zoo: Path, tmp_path: Path, expected: pd.DataFrame, limit: int
) -> None:
    folder = tmp_path / "run"
    assert "the disk is full: " in run("audit", "-l", zoo, "-o", folder, limit=limit, code=1)
    check_whole(folder)
    run("audit", "-l", zoo, "-o", folder, code=0)
    assert check_whole(folder) == 8
    pd.testing.assert_frame_equal(read_scores(folder / "scores.parquet"), expected, check_exact=True)


@pytest.mark.parametrize("command", ["extract", slow("analyze"), slow("report")])
def test_a_read_only_folder_is_one_line(zoo: Path, disk: Disk, command: str) -> None:
    disk.mount("size=16m")
    folder = disk.place / "run"
    extract(load_catalog(zoo), folder)
    analyze(folder)
    before = sorted(folder.rglob("*"))
    disk.mount("remount", "ro")
    arguments = ["-l", zoo, "-o", folder] if command == "extract" else [folder]
    printed = run(command, *arguments, code=1)
    assert printed == f"filterlens: {folder} cannot be written: choose another folder with --out\n"
    assert sorted(folder.rglob("*")) == before
    disk.mount("remount", "rw")
    run(command, *arguments, code=0)


def test_a_place_that_cannot_be_made_is_one_line(zoo: Path, disk: Disk) -> None:
    disk.mount("size=1m", "ro")
    printed = run("extract", "-l", zoo, "-o", disk.place / "new" / "run", code=1)
    assert "cannot be written: choose another folder with --out" in printed
    assert printed.count("\n") == 1


def interrupted(zoo: Path, folder: Path, jobs: int, wait: Callable[[subprocess.Popen[str]], None]) -> None:
    """Press Ctrl-C: the terminal sends the signal to every process of the group."""
    process = start("audit", "-l", zoo, "-o", folder, "--jobs", str(jobs))
    wait(process)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    assert printed.splitlines()[-1].startswith(INTERRUPTED)
    wait_for_the_end_of(process.pid)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_at_any_moment_is_one_line_and_the_same_command_goes_on(tmp_path: Path, jobs: int) -> None:
    zoo, folder = make_zoo(tmp_path / "zoo", pairs=60), tmp_path / "run"
    moments = random.Random(jobs)

    def after_some_models(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for _ in range(moments.randrange(1, 15)):
            process.stdout.readline()
        time.sleep(moments.uniform(0, 0.05))

    for _ in range(6):
        interrupted(zoo, folder, jobs, after_some_models)
        for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines():
            assert json.loads(line)["status"] == "ok"
    run("audit", "-l", zoo, "-o", folder, "--jobs", str(jobs), code=0)
    assert check_whole(folder) == 120
    extract(load_catalog(zoo), tmp_path / "whole")
    pd.testing.assert_frame_equal(read_scores(folder / "scores.parquet"), analyze(tmp_path / "whole"), check_exact=True)


@pytest.mark.slow
def test_ctrl_c_while_processes_start_is_one_line(zoo: Path, tmp_path: Path) -> None:
    def wait(attempt: int, _: object) -> None:
        _wait_until_there(tmp_path / "run" / ".holder", attempt)

    for attempt in range(8):
        # from here on Python runs ours: before, it is importing what it was started with
        interrupted(zoo, tmp_path / "run", 2, partial(wait, attempt))
    run("extract", "-l", zoo, "-o", tmp_path / "run", "--jobs", "2", code=0)
    assert check_whole(tmp_path / "run") == 8


def _wait_until_there(path: Path, attempt: int) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(0.15 * attempt)


@pytest.mark.slow
def test_ctrl_c_during_analysis_and_report_is_one_line(zoo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def once_pooled(delay: float, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 60
        while not (folder / "pooled.h5").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay)

    for delay in (0.0, 0.5, 1.0):
        shutil.rmtree(folder, ignore_errors=True)
        interrupted(zoo, folder, 1, partial(once_pooled, delay))
        check_whole(folder)
    run("audit", "-l", zoo, "-o", folder, code=0)
    assert check_whole(folder) == 8
    assert (folder / "index.html").is_file()


def test_the_second_audit_of_a_folder_says_who_holds_it(tmp_path: Path) -> None:
    zoo, folder = make_zoo(tmp_path / "zoo", pairs=60), tmp_path / "run"
    first = start("extract", "-l", zoo, "-o", folder)
    assert first.stdout is not None
    first.stdout.readline()
    first.send_signal(signal.SIGSTOP)
    rivals: tuple[list[str | Path], ...] = (["extract", "-l", zoo, "-o", folder], ["analyze", folder])
    for rival in rivals:
        printed = run(*rival, code=1)
        assert printed.startswith(f"filterlens: {folder} is in use by process {first.pid} on ")
        assert printed.count("\n") == 1
    first.kill()
    first.communicate()
    assert " 120 " in run("extract", "-l", zoo, "-o", folder, code=0)
    assert check_whole(folder) == 120


@pytest.mark.slow
def test_an_audit_killed_with_its_workers_at_work_leaves_no_lock_and_no_process(tmp_path: Path) -> None:
    zoo, folder = make_zoo(tmp_path / "zoo", pairs=60), tmp_path / "run"
    process = start("extract", "-l", zoo, "-o", folder, "--jobs", "2")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    assert " 120 " in run("extract", "-l", zoo, "-o", folder, "--jobs", "2", code=0)
    process.communicate(timeout=30)
    wait_for_the_end_of(process.pid)
    assert check_whole(folder) == 120


def test_a_ledger_with_a_torn_last_line_costs_nothing_since_the_dump_has_its_row(zoo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    extract(load_catalog(zoo), folder)
    ledger = folder / "ledger.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:-40])
    outcome = extract(load_catalog(zoo), folder)
    assert (outcome.reused, outcome.count("ok")) == (8, 8)
    kept = ledger.read_bytes()
    assert kept.startswith(whole[:-40] + b"\n")
    assert json.loads(kept.splitlines()[-1])["model_id"] == json.loads(whole.splitlines()[-1])["model_id"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "compare", "check"])
def test_other_commands_too_are_one_line_where_nothing_can_be_written(zoo: Path, disk: Disk, command: str) -> None:
    disk.mount("size=64k", "ro")
    model, out = zoo.parent / "net0-normal.pt", disk.place / "new.csv"
    arguments: dict[str, list[str | Path]] = {
        "train": ["normal", "--epochs", "1", "--images", "64", "--out", disk.place / "new"],
        "compare": [model, zoo.parent / "net0-robust.pt", "--out", out],
        "check": [model, "--max-sparsity", "0.9", "--junit", out],
    }
    code = 2 if command == "check" else 1  # where 1 says that a bound is broken
    printed = run(command, *arguments[command], code=code)
    assert printed.splitlines()[-1] == f"filterlens: {disk.place} cannot be written: choose another folder with --out"
    disk.mount("remount", "rw")
    disk.fill(0)
    printed = run(command, *arguments[command], code=code)
    assert printed.splitlines()[-1].startswith("filterlens: the disk is full: ")
    assert not list(disk.place.rglob("*.tmp"))
