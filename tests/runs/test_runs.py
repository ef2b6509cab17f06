"""Extract and analyse: what is done once is kept, what fails stays alone, and numbers never depend on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from small_zoo import make_zoo

from filterlens.catalogs import load_catalog
from filterlens.dumps import DumpReader
from filterlens.errors import AuditLockedError, CatalogError, DumpError, InputError
from filterlens.lens import RunSettings
from filterlens.lenses.filters.options import FiltersOptions
from filterlens.runs import analyze, extract
from filterlens.runs.executors import Executor, InProcess, LocalProcesses
from filterlens.runs.folder import lock_folder


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return make_zoo(tmp_path / "zoo")


def test_scores_come_out_of_checkpoints(zoo: Path, tmp_path: Path) -> None:
    outcome = extract(load_catalog(zoo), tmp_path / "run")
    scores = analyze(tmp_path / "run")
    assert {row.status for row in outcome.rows} == {"ok"}
    assert set(scores["model_id"]) == {"net0-robust", "net0-normal", "net1-robust", "net1-normal"}
    sparse = scores[(scores["model_id"] == "net0-robust") & (scores["metric"] == "sparsity")].set_index("layer")[
        "value"
    ]
    assert sparse["block.conv"] == 2 / 8  # two of eight output channels of net0-robust are (nearly) zero
    with DumpReader(tmp_path / "run" / "dumps" / "net0-robust.h5") as dump:
        assert dump.lens("filters").read("stem").shape == (8, 3, 3, 3)
        assert dump.attributes["sha256"]


@pytest.mark.parametrize("executor", [LocalProcesses(2)], ids=["processes"])
def test_every_executor_gives_the_same_scores_bit_for_bit(zoo: Path, tmp_path: Path, executor: Executor) -> None:
    tables = []
    for name, where in (("here", InProcess()), ("there", executor)):
        extract(load_catalog(zoo), tmp_path / name, executor=where)
        tables.append(analyze(tmp_path / name))
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)


def test_one_models_failure_stays_its_own(zoo: Path, tmp_path: Path) -> None:
    (zoo.parent / "net1-robust.pt").write_bytes(b"<!DOCTYPE html><html>Google Drive - Quota exceeded</html>")
    outcome = extract(load_catalog(zoo), tmp_path / "run")
    failed = [row for row in outcome.rows if row.status == "failed"]
    assert [row.model_id for row in failed] == ["net1-robust"]
    assert "is a web page, not a checkpoint" in failed[0].reason
    assert sorted(path.name for path in (tmp_path / "run" / "dumps").iterdir()) == [
        "net0-normal.h5",
        "net0-robust.h5",
        "net1-normal.h5",
    ]
    assert analyze(tmp_path / "run")["model_id"].nunique() == 3


def test_a_second_run_does_only_what_is_missing_failed_or_changed(zoo: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    broken = zoo.parent / "net1-robust.pt"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    extract(load_catalog(zoo), run)
    before = {path.name: path.stat().st_mtime_ns for path in (run / "dumps").iterdir()}
    broken.write_bytes(whole)
    (run / "dumps" / "net0-normal.h5").unlink()
    outcome = extract(load_catalog(zoo), run)
    after = {path.name: path.stat().st_mtime_ns for path in (run / "dumps").iterdir()}
    assert outcome.reused == 2
    assert {name for name in after if before.get(name) == after[name]} == {"net0-robust.h5", "net1-normal.h5"}
    assert extract(load_catalog(zoo), run).reused == 4
    options = {"filters": FiltersOptions(kernel="all")}
    assert extract(load_catalog(zoo), run, lenses=options, existing="replace").reused == 0


def test_analysis_keeps_the_scores_of_dumps_that_have_not_changed(zoo: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    extract(load_catalog(zoo), run)
    first = analyze(run)
    heard: list[str] = []
    second = analyze(run, reuse=True, listener=lambda event: heard.append(event.what))
    pd.testing.assert_frame_equal(first, second)
    assert not heard


def test_a_dump_that_fails_its_checksum_is_left_out_and_extracted_again(zoo: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    extract(load_catalog(zoo), run)
    damaged = run / "dumps" / "net0-robust.h5"
    with h5py.File(damaged) as file:
        offset = file["filters"]["stem"].id.get_chunk_info(0).byte_offset
    content = bytearray(damaged.read_bytes())
    content[offset + 5] ^= 0xFF
    damaged.write_bytes(content)
    assert "net0-robust" not in set(analyze(run)["model_id"])
    assert extract(load_catalog(zoo), run).reused == 3
    assert "net0-robust" in set(analyze(run)["model_id"])


def test_two_audits_of_one_folder_do_not_meet(zoo: Path, tmp_path: Path) -> None:
    with lock_folder(tmp_path / "run"), pytest.raises(AuditLockedError, match=f"process {os.getpid()} on "):
        extract(load_catalog(zoo), tmp_path / "run")
    assert extract(load_catalog(zoo), tmp_path / "run").count("ok") == 4


def test_the_lock_of_a_process_that_was_killed_is_free(zoo: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from filterlens.runs.folder import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    assert (tmp_path / "run" / ".holder").is_file()
    assert extract(load_catalog(zoo), tmp_path / "run").count("ok") == 4


def test_another_zoo_under_the_same_ids_is_refused(zoo: Path, tmp_path: Path) -> None:
    extract(load_catalog(zoo), tmp_path / "run")
    text = zoo.read_text().replace(",net0-robust.pt", ",net1-robust.pt")
    zoo.write_text(text)
    with pytest.raises(CatalogError, match=r"'net0-robust' is net0-robust\.pt, not net1-robust\.pt"):
        extract(load_catalog(zoo), tmp_path / "run")


def test_a_later_run_of_other_models_adds_to_the_folder(zoo: Path, tmp_path: Path) -> None:
    catalog = load_catalog(zoo)
    extract(catalog.select(["net0-*"]), tmp_path / "run")
    extract(catalog.select(["net1-*"]), tmp_path / "run")
    assert analyze(tmp_path / "run")["model_id"].nunique() == 4


def test_wrong_images_are_met_before_any_model_runs(zoo: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", images=np.zeros((4, 32, 32, 3), np.complex64), labels=np.zeros(4, int))
    with pytest.raises(InputError, match=r"bad\.npz"):
        extract(
            load_catalog(zoo),
            tmp_path / "run",
            lenses=["robustness"],
            settings=RunSettings(data=str(tmp_path / "bad.npz")),
        )
    assert not list((tmp_path / "run").glob("dumps/*"))


def test_a_device_that_is_not_there_is_refused(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--device nonsense cannot be used here"):
        extract(load_catalog(zoo), tmp_path / "run", settings=RunSettings(device="nonsense"))


def test_a_lens_that_does_not_apply_is_skipped_once_with_a_reason(zoo: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=np.zeros((4, 32, 32, 3), np.uint8), labels=np.zeros(4, int))
    settings = RunSettings(data=str(tmp_path / "images.npz"))
    outcome = extract(load_catalog(zoo), tmp_path / "run", lenses=["filters", "downsampling"], settings=settings)
    skipped = [row for row in outcome.rows if row.status == "skipped"]
    assert len(skipped) == 4
    assert "weights only" in skipped[0].reason
    again = extract(load_catalog(zoo), tmp_path / "run", lenses=["filters", "downsampling"], settings=settings)
    assert again.reused == 8


def test_an_empty_run_says_that_nothing_was_extracted(zoo: Path, tmp_path: Path) -> None:
    for path in zoo.parent.glob("*.pt"):
        path.write_bytes(b"")
    assert extract(load_catalog(zoo), tmp_path / "run").count("failed") == 4
    with pytest.raises(DumpError, match="nothing was extracted"):
        analyze(tmp_path / "run")


def test_a_file_that_grows_past_the_disk_leaves_nothing_half_written(zoo: Path, tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from filterlens.catalogs import load_catalog\nfrom filterlens.runs import extract\n"
        "import filterlens.loaders, torch\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "catalog = load_catalog(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3700, resource.RLIM_INFINITY))\n"
        "outcome = extract(catalog, Path(sys.argv[2]))\n"
        "sys.exit(40 + outcome.count('failed'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(zoo), str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 44, done.stderr
    assert not done.stderr
    assert not list((tmp_path / "run").rglob("*.h5"))
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert extract(load_catalog(zoo), tmp_path / "run").count("ok") == 4


def test_models_without_a_poolable_filter_are_scored_all_the_same(zoo: Path, tmp_path: Path) -> None:
    import torch

    for path in zoo.parent.glob("*.pt"):
        torch.save({"conv.weight": torch.randn(8, 3, 1, 5)}, path)
    extract(load_catalog(zoo), tmp_path / "run", lenses={"filters": FiltersOptions(kernel="all")})
    scores = analyze(tmp_path / "run")
    assert set(scores["kind"]) == {"1x5"}
    with DumpReader(tmp_path / "run" / "pooled.h5") as pooled:
        assert set(pooled.lenses) <= {"filters"}


@pytest.mark.slow
def test_an_audit_killed_at_any_moment_resumes_to_the_same_scores(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo", pairs=15)
    began = time.monotonic()
    extract(load_catalog(zoo), tmp_path / "whole")
    expected = analyze(tmp_path / "whole")
    took = time.monotonic() - began
    code = (
        "import sys; from pathlib import Path; from filterlens.catalogs import load_catalog\n"
        "from filterlens.runs import analyze, extract; import filterlens.loaders, torch\n"
        "print('ready', flush=True)\n"
        "extract(load_catalog(sys.argv[1]), Path(sys.argv[2])); analyze(Path(sys.argv[2]))"
    )
    rng = np.random.default_rng(0)
    run = tmp_path / "run"
    killed = torn = 0
    while killed < 30 or (not torn and killed < 90):  # a busy machine writes at other moments
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(zoo), str(run)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, took))
        process.kill()
        process.stdout.close()
        if process.wait() != -signal.SIGKILL:  # it was quicker
            shutil.rmtree(run)
            continue
        killed += 1
        torn += len(list(run.rglob("*.tmp")))
        for path in run.glob("dumps/*.h5"):
            with DumpReader(path) as dump:
                group = dump.lens("filters")
                assert all(np.isfinite(group.read(name)).all() for name in group.names())
        if killed % 3 == 0:  # two kills of three meet a run that has been killed before
            assert extract(load_catalog(zoo), run).count("ok") == 30
            pd.testing.assert_frame_equal(analyze(run), expected, check_exact=True)
            assert not list(run.rglob("*.tmp"))
            shutil.rmtree(run)
    assert torn, "no kill met a file being written: the moments are chosen badly"
