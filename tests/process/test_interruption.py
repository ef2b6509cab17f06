"""Signals at any moment: one line, exit code 128 + number, no process and no temporary file left, and it goes on.

`make interruptions` sends a thousand of them; here are a few of each kind, and what that table does not reach.
"""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_zoo import make_zoo, write_catalog

FILTERLENS = [sys.executable, "-c", "from filterlens.cli import main; main()"]
INTERRUPTED = "filterlens: interrupted: what is done is kept; the same command goes on from here: filterlens "
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Command:
    """A command that runs in a session, a folder of temporary files and a cache of its own."""

    def __init__(self, home: Path, *arguments: str | Path, prefix: tuple[str, ...] = (), **options: Any) -> None:
        self.home = home
        self.temporary, self.cache = home / "tmp", home / "cache"
        self.temporary.mkdir(exist_ok=True)
        environment = os.environ | {
            "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1]),
            "TMPDIR": str(self.temporary), "FILTERLENS_CACHE": str(self.cache),
        }  # fmt: skip
        self.process = subprocess.Popen(
            [*prefix, *FILTERLENS, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True,
            **options,
        )  # fmt: skip

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 100
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def wait_until_handled(self) -> None:
        """Wait until ours handles signals: before, Python is starting."""
        bit = 1 << (signal.SIGTERM - 1)
        status = Path(f"/proc/{self.process.pid}/status")
        self.wait_until(lambda: int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & bit)

    def check_interrupted(self, number: int) -> None:
        printed, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 128 + number, printed
        assert printed.splitlines()[-1].startswith(INTERRUPTED)
        assert "Traceback" not in printed
        self.check_nothing_left()

    def check_nothing_left(self) -> None:
        deadline = time.monotonic() + 20
        while found := living(self.process.pid):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        left = [*self.temporary.iterdir(), *self.cache.rglob(".partial-*")]
        left += [*self.home.rglob("*.tmp"), *self.home.rglob(".holder")]
        assert left == []


def living(session: int) -> list[str]:
    """Return the command lines of a session's processes."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((stat.parent / "cmdline").read_text())
    return found


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_zoo(tmp_path_factory.mktemp("zoo"), pairs=1)


class Endless(http.server.BaseHTTPRequestHandler):
    """Sends a byte now and then."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Path]:
    """A catalog of two files whose downloads do not end."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"url:http://127.0.0.1:{server.server_port}"
    rows = [
        (name, f"{address}/{name}.pt?sha256={'0' * 64}", "cifar10", "Linf", "8/255", "tiny", "false", "", 90, "")
        for name in ("a", "b")
    ]
    yield write_catalog(tmp_path / "endless.csv", rows)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_signal_during_a_download_leaves_nothing(endless: Path, tmp_path: Path, jobs: int, number: int) -> None:
    command = Command(tmp_path, "extract", "-l", endless, "-o", tmp_path / "run", "--jobs", str(jobs))
    command.wait_until(lambda: list(command.cache.rglob(".partial-*/*")))
    os.kill(command.process.pid, number)
    command.check_interrupted(number)


def test_what_a_killed_download_leaves_is_removed_by_the_next(endless: Path, tmp_path: Path) -> None:
    arguments = ("extract", "-l", endless, "-o", tmp_path / "run")
    command = Command(tmp_path, *arguments)
    command.wait_until(lambda: list(command.cache.rglob(".partial-*/*")))
    left = [*command.temporary.iterdir(), *command.cache.rglob(".partial-*")]
    command.process.kill()
    command.process.communicate()
    assert len(left) == 2
    assert all(path.exists() for path in left)
    command = Command(tmp_path, *arguments)
    command.wait_until(lambda: not any(path.exists() for path in left))
    command.process.terminate()
    command.check_interrupted(signal.SIGTERM)


def test_the_temporary_files_of_a_living_process_are_left_alone(endless: Path, zoo: Path, tmp_path: Path) -> None:
    first = Command(tmp_path, "extract", "-l", endless, "-o", tmp_path / "run")
    first.wait_until(lambda: list(first.cache.rglob(".partial-*/*")))
    there = list(first.temporary.iterdir())
    second = Command(tmp_path, "inspect", zoo.parent / "net0-normal.pt")
    assert second.process.wait(100) == 0
    second.process.communicate()
    assert list(first.temporary.iterdir()) == there
    first.process.terminate()
    first.check_interrupted(signal.SIGTERM)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_imports_is_one_line(zoo: Path, tmp_path: Path, number: int) -> None:
    for moment in (0, 0.1, 0.7):
        command = Command(tmp_path, "extract", "-l", zoo, "-o", tmp_path / "run", "--jobs", "2")
        command.wait_until_handled()
        time.sleep(moment)
        os.killpg(command.process.pid, number)  # as a terminal does
        command.check_interrupted(number)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "net0-normal.pt"),
        ("compare", "net0-normal.pt", "net0-robust.pt", "--out", "table.csv"),
        ("check", "net0-normal.pt", "--max-sparsity", "0.9", "--junit", "junit.xml"),
        ("import", "filterdb", "dataset.h5", "--out", "imported"),
        ("train", "normal", "--epochs", "50", "--images", "256", "--out", "trained"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_ends_on_a_signal(zoo: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    shutil.copytree(zoo.parent, tmp_path, dirs_exist_ok=True)
    for number, moment in zip(SIGNALS * 2, (0.0, 0.3, 0.6, 1.2, 1.8, 2.4), strict=True):
        command = Command(tmp_path, *arguments, cwd=tmp_path)
        command.wait_until_handled()
        time.sleep(moment)
        os.kill(command.process.pid, number)
        printed, _ = command.process.communicate(timeout=60)
        assert "Traceback" not in printed
        if command.process.returncode == 128 + number:  # otherwise it has ended
            assert printed.splitlines()[-1].startswith(INTERRUPTED)
        command.check_nothing_left()


def _ignored_and_blocked() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])


def _partial_files(command: Command) -> list[Path]:
    return list(command.cache.rglob(".partial-*/*"))


def test_signals_that_were_inherited_as_ignored_or_blocked_are_heard_but_for_nohup(
    endless: Path, tmp_path: Path
) -> None:
    arguments = ("extract", "-l", endless, "-o", tmp_path / "run", "--jobs", "2")
    for number in (signal.SIGINT, signal.SIGTERM):
        command = Command(tmp_path, *arguments, preexec_fn=_ignored_and_blocked)
        command.wait_until(partial(_partial_files, command))
        os.killpg(command.process.pid, signal.SIGHUP)
        time.sleep(0.3)
        assert command.process.poll() is None
        os.kill(command.process.pid, number)
        command.check_interrupted(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_process_of_a_container_hears_signals(endless: Path, tmp_path: Path, number: int) -> None:
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no process namespace can be made here")
    command = Command(
        tmp_path, "extract", "-l", endless, "-o", tmp_path / "run", "--jobs", "2", prefix=(*unshare, "--kill-child")
    )
    command.wait_until(lambda: list(command.cache.rglob(".partial-*/*")))
    pid = command.process.pid
    os.kill(int(Path(f"/proc/{pid}/task/{pid}/children").read_text()), number)
    command.check_interrupted(number)


def test_a_second_signal_ends_it_at_once(endless: Path, tmp_path: Path) -> None:
    command = Command(tmp_path, "extract", "-l", endless, "-o", tmp_path / "run", "--jobs", "2")
    command.wait_until(lambda: list(command.cache.rglob(".partial-*/*")))
    for pid in _workers(command.process.pid):
        os.kill(pid, signal.SIGSTOP)  # they do not end when they are asked
    os.kill(command.process.pid, signal.SIGINT)
    time.sleep(1)
    begun = time.monotonic()
    os.kill(command.process.pid, signal.SIGINT)
    command.process.wait(60)
    assert time.monotonic() - begun < 1.8  # of the 3 s that they have, 2 are left
    printed, _ = command.process.communicate(timeout=60)
    assert command.process.returncode == 130
    assert printed.splitlines()[-1].startswith(INTERRUPTED)
    assert list(command.temporary.iterdir()) == []


def _workers(driver: int) -> list[int]:
    """Return the children of the driver's fork server."""
    found = []
    for child in Path(f"/proc/{driver}/task/{driver}/children").read_text().split():
        found += Path(f"/proc/{child}/task/{child}/children").read_text().split()
    return [int(pid) for pid in found]


BUSY = {
    # returns at no signal, as name look-ups
    "a C function": "say(); lock = ctypes.CDLL(None).pthread_mutex_lock; mutex = ctypes.create_string_buffer(64); "
    "lock(mutex); lock(mutex)",
    "a destructor": "type('Thing', (), {'__del__': lambda _: say() or time.sleep(60)})()",
    "a callback": "thing = threading.Thread(); kept = weakref.ref(thing, lambda _: say() or time.sleep(60)); del thing",
    "a handler of all exceptions": "say()\ntry: time.sleep(60)\nexcept BaseException: time.sleep(60)",
}


@pytest.mark.parametrize("where", BUSY)
def test_a_signal_is_heard_wherever_python_is(where: str) -> None:
    code = (
        "import ctypes, signal, threading, time, weakref; from filterlens.process.interruption import end_on_signals\n"
        "def say(): print('there', flush=True)\n"
        "end_on_signals([signal.SIGTERM], announce=lambda _: print('ended', flush=True), patience=1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code + BUSY[where]], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.terminate()
    assert process.communicate(timeout=20)[0] == "ended\n"
    assert process.returncode == 143


HOSTILE = ("torch", "h5py", "json", "numpy", "filterlens", "multiprocessing", "socket", "signal", "sitecustomize")


def hostile_folder(folder: Path) -> None:
    for name in HOSTILE:
        (folder / f"{name}.py").write_text(
            f"open({str(folder / 'ran')!r}, 'a').write('{name} ')\nraise SystemExit(7)\n"
        )


@pytest.mark.parametrize("options", [("--jobs", "2"), pytest.param(("--ray", "local"), marks=pytest.mark.slow)])
def test_nothing_is_imported_from_the_working_folder(zoo: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    hostile_folder(tmp_path)
    arguments = ["extract", "-l", str(zoo), "-o", str(tmp_path / "run"), *options]
    # what `python -c` itself imports from there is not ours: it starts elsewhere and goes there
    begin = f"import os, sys; sys.argv[1:] = {arguments!r}; os.chdir({str(tmp_path)!r}); sys.path.insert(0, '')"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", f"import filterlens.cli; {begin}; filterlens.cli.main()"],
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}, cwd=root,
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert done.returncode == 0, done.stdout + done.stderr


MAKING = """
import itertools, shutil, signal, sys, threading
from pathlib import Path
from filterlens.process.interruption import end_on_signals, forget_temporary, make_temporary_folder, wait_for_the_end

end_on_signals([signal.SIGTERM], patience=5)

def make(name):
    for number in itertools.count():
        folder = make_temporary_folder(Path(sys.argv[1]) / f"{name}-{number}")
        try:
            (folder / "file").write_text("")
        except OSError as error:
            wait_for_the_end()
            print("failed", error, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        forget_temporary(folder)

for name in range(4):
    threading.Thread(target=make, args=(name,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""


def test_threads_that_make_temporary_folders_leave_none_and_tell_no_failure(tmp_path: Path) -> None:
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen(
            [sys.executable, "-c", MAKING, folder], stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.003 * attempt)
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read() == ""
        assert process.returncode == 128 + signal.SIGTERM
        assert list(folder.iterdir()) == []
