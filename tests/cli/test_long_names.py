"""A name that no file system has is told like any other name that is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from filterlens.cli.app import app
from filterlens.errors import CatalogError, CheckpointError, FilterlensError

LONG = "x" * 4000


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["inspect", LONG], CheckpointError, "there is no file"),
        (["inspect", f"{LONG}/model"], FilterlensError, "there is no file"),
        (["inspect", f"filterdb:{LONG}#0"], CheckpointError, "cannot be read|there is no"),
        (["audit", "--folder", LONG], CatalogError, "there is no folder"),
        (["import", "filterdb", LONG], CheckpointError, "there is no file"),
    ],
)
def test_a_name_longer_than_names_may_be_is_told(
    arguments: list[str], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)


def test_a_process_with_many_open_files_checks_dumps_all_the_same(tmp_path: Path) -> None:
    code = (
        "import os, resource; from pathlib import Path; from filterlens.dumps.hdf5_check import check_hdf5\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n"
        "many = [os.open('/dev/null', os.O_RDONLY) for _ in range(1100)]\n"
        "import h5py; h5py.File('m.h5', 'w').close(); check_hdf5(Path('m.h5')); print('passed')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ
    )
    assert done.stdout == "passed\n", done.stderr
