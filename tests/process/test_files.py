"""One way to write a file: whole or not at all, and no other way in the package."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import filterlens
from filterlens.errors import WriteError
from filterlens.process.files import atomic_write, remove_stale_temporaries, temporary_path, write_atomically

PACKAGE = Path(filterlens.__file__).parent


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes_come_back_as_they_went_in(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "a.txt", "ε\r\n")
    write_atomically(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\xce\xb5\r\n"
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["table.csv"]


def test_the_old_file_is_seen_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_bytes_and_folder_are_brought_to_the_disk_around_the_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, heard = tmp_path / "a", []

    def hear(descriptor: int) -> None:
        heard.append((Path(f"/proc/self/fd/{descriptor}").readlink(), path.exists()))

    monkeypatch.setattr(os, "fsync", hear)
    write_atomically(path, "x")
    (first, before), second = heard
    assert first.suffix == ".tmp"
    assert not before
    assert second == (tmp_path, True)


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    assert temporary_path(tmp_path / "a") != temporary_path(tmp_path / "a")
    with atomic_write(tmp_path / "a") as one, atomic_write(tmp_path / "a") as two:
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a").read_text() == "one"


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.tmp", ".hidden", "a"):
        (tmp_path / name).touch()
    temporary_path(tmp_path / "a").touch()
    remove_stale_temporaries(tmp_path)
    remove_stale_temporaries(tmp_path / "not there")
    assert left_in(tmp_path) == [".hidden", "a", "a.tmp"]


def test_a_file_past_the_limit_is_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from filterlens.process.files import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomically(Path(sys.argv[1]), bytes(2000))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"WriteError the disk is full: {tmp_path / 'a'} was not written; free some space")
    assert left_in(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("inside", ["file/a", "file/deeper/a"])
def test_a_file_in_the_folders_place_is_said_plainly(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"a could not be written .*; nothing was left behind"):
        write_atomically(tmp_path / inside, "x")


def test_no_module_writes_a_file_in_a_way_of_its_own() -> None:
    own = {
        "process/files.py",  # the way
        "runs/ledger.py",  # appends, and every reader passes over a torn line
        "training/logs.py",  # appends
        "loaders/partial.py",  # a torn note is passed over
        "loaders/transfer.py",  # streams into a folder of its own, and finishes as files.py does
        "loaders/mirror.py",  # likewise
        "loaders/archive.py",  # a temporary copy
        "inputs/cifar.py",  # streams into its own temporary file, and finishes as files.py does
        "report/drawing.py",  # draws into memory
        "commands/memory.py",  # into what files.py gives it
        "runs/folder.py",  # likewise
        "commands/trackers/mlflow.py",  # into a temporary folder, which the client copies
    }
    writers = {"write_text", "write_bytes", "savefig", "save_file"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node.func, "attr", "") if isinstance(node, ast.Call) else ""
            words = [arg.value for arg in getattr(node, "args", ()) if isinstance(arg, ast.Constant)] if name else []
            opens = name == "open" and any(set(str(word)) & set("wax") for word in words if len(str(word)) <= 3)
            if opens or name in writers:
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found <= own, f"write with filterlens.process.files: {sorted(found - own)}"
