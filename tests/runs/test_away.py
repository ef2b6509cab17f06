"""Jobs of other machines: their dumps travel back, and files that they do not see are named. Without a cluster."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
import torch
from small_zoo import make_zoo, weights

from filterlens.catalogs import load_catalog
from filterlens.dumps import DumpReader, DumpWriter, receive_dump
from filterlens.errors import DumpError, InputError
from filterlens.lens import RunSettings
from filterlens.process.files import atomic_write
from filterlens.runs import Event, analyze, extract
from filterlens.runs.executors import InProcess
from filterlens.runs.executors.batches import Batches
from filterlens.runs.ledger import Ledger
from filterlens.score import read_scores


class Away(InProcess):
    """Another machine, as far as pickles and folders go.

    Parameters
    ----------
    folder
        What it sees in the place of the catalog's folder; None: the same.
    """

    local = False

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def for_analysis(self, _: Path | None) -> Self:
        return self

    def run(self, jobs: Sequence[Any], work: Any, listener: Any) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            sent = pickle.loads(pickle.dumps(job))
            if hasattr(sent, "dump"):
                assert sent.folder.is_absolute()
                sent = replace(sent, folder=self.folder or sent.folder, dump=Path("/nowhere") / sent.dump.name)
            ((_, result),) = super().run([sent], work, lambda _, *told, job=job: listener(job, *told))
            yield job, pickle.loads(pickle.dumps(result))


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return make_zoo(tmp_path / "zoo")


def assert_same_dumps(a: Path, b: Path) -> None:
    paths = sorted(path.name for path in (a / "dumps").iterdir())
    assert paths == sorted(path.name for path in (b / "dumps").iterdir())
    for name in paths:
        with DumpReader(a / "dumps" / name) as one, DumpReader(b / "dumps" / name) as other:
            assert one.held == other.held
            for lens in one.held:
                ours, theirs = one.kept(lens), other.kept(lens)
                assert ours.names() == theirs.names()
                assert ours.parameters == theirs.parameters
                for array in ours.names():
                    assert ours.read(array).tobytes() == theirs.read(array).tobytes()
                    assert str(ours.attributes_of(array)) == str(theirs.attributes_of(array))


@pytest.mark.parametrize("dumps", ["all", "none"])
def test_dumps_that_travel_are_those_that_are_written_here(zoo: Path, tmp_path: Path, dumps: Any) -> None:
    catalog = load_catalog(zoo)
    for name, executor in (("here", InProcess()), ("there", Away())):
        for lens in ("filters", "frequency"):  # the second comes beside the first
            outcome = extract(
                catalog, tmp_path / name, lenses=[lens], settings=RunSettings(dumps=dumps), executor=executor
            )
            assert outcome.count("ok") == 4
        analyze(tmp_path / name, executor=executor, settings=RunSettings())
    assert_same_dumps(tmp_path / "there", tmp_path / "here")
    ours, theirs = (read_scores(tmp_path / name / "scores.parquet") for name in ("there", "here"))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert not [path for path in (tmp_path / "there" / "dumps").iterdir() if path.suffix != ".h5"]
    assert extract(catalog, tmp_path / "there", settings=RunSettings(dumps=dumps), executor=Away()).reused == 4


def test_a_lens_made_anew_takes_the_place_of_the_old_one(zoo: Path, tmp_path: Path) -> None:
    catalog, run = load_catalog(zoo), tmp_path / "run"
    for dumps in ("none", "all"):
        extract(catalog, run, settings=RunSettings(dumps=dumps), executor=Away())
    with DumpReader(run / "dumps" / "net0-robust.h5") as dump:
        assert (dump.lenses, dump.scored) == (["filters"], [])


@pytest.mark.parametrize("what", ["missing", "another"])
def test_a_node_without_the_catalogs_files_says_so(zoo: Path, tmp_path: Path, what: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    if what == "another":
        for path in zoo.parent.glob("*.pt"):
            torch.save(weights(99), other / path.name)
    outcome = extract(load_catalog(zoo), tmp_path / "run", executor=Away(other))
    assert outcome.count("failed") == 4
    row = Ledger(tmp_path / "run" / "ledger.jsonl").latest()["net0-robust", "filters"]
    assert "does not see the driver's 'net0-robust.pt' of" in row.reason
    assert "copy the catalog's local files to every node" in row.reason
    assert row.host
    assert extract(load_catalog(zoo), tmp_path / "run").count("ok") == 4


def test_a_model_that_fails_there_is_its_own_failure_here(zoo: Path, tmp_path: Path) -> None:
    (zoo.parent / "net1-robust.pt").write_bytes(b"no checkpoint")
    outcome = extract(load_catalog(zoo), tmp_path / "run", executor=Away())
    assert (outcome.count("ok"), outcome.count("failed")) == (3, 1)
    assert not (tmp_path / "run" / "dumps" / "net1-robust.h5").exists()


def test_a_disk_that_is_full_here_is_the_models_failure(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        with atomic_write(path) as temporary:
            yield temporary
            raise OSError(errno.ENOSPC, "No space left on device")

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("filterlens.dumps.receiving.atomic_write", full)
        outcome = extract(load_catalog(zoo), run, executor=Away())
    assert outcome.count("failed") == 4
    assert "the disk is full" in outcome.rows[0].reason
    assert extract(load_catalog(zoo), run, executor=Away()).count("ok") == 4


def test_what_is_no_dump_leaves_the_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with DumpWriter(path, {}) as dump:
        dump.lens("filters", {}).write("a", np.ones(3))
    before = path.read_bytes()
    with pytest.raises(DumpError, match="what came from another machine is no dump"):
        receive_dump(np.arange(200, dtype=np.uint8), path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["a.h5"]


def test_eviction_is_refused_away(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="each node fetches for itself"):
        extract(load_catalog(zoo), tmp_path / "run", executor=Away(), evict=True)


def test_that_nodes_do_not_see_the_dumps_is_said(zoo: Path, tmp_path: Path) -> None:
    class Blind(Away):
        def for_analysis(self, folder: Path | None) -> Any:
            return InProcess() if folder else self

    heard: list[Event] = []
    extract(load_catalog(zoo), tmp_path / "run", executor=Blind())
    analyze(tmp_path / "run", executor=Blind(), listener=heard.append)
    assert any("its dumps are analysed on this machine" in event.note for event in heard)


def test_batches_begin_with_one_job_and_grow_to_two_seconds() -> None:
    batches = Batches(10_000)
    assert batches.take(2) == [0]
    assert batches.take(2) == [1]
    batches.took(1, 0.1)
    assert batches.take(2) == list(range(2, 22))
    batches.took(20, 0.001)
    assert len(batches.take(2)) == 200
    assert len(batches) == 10_000 - 222


def test_no_batch_takes_what_others_could_do() -> None:
    batches = Batches(9)
    batches.take(1)
    batches.took(1, 1e-6)
    assert [len(batches.take(4)) for _ in range(8) if batches] == [2, 2, 1, 1, 1, 1]
    assert not batches


@pytest.mark.parametrize("n", [2, 3, 4, 5, 40, 200])
def test_a_job_that_ends_its_worker_is_soon_alone(n: int) -> None:
    batches = Batches(n + 1)
    batches.take(1)
    batches.took(1, 1e-6)
    given, lost = [], batches.take(1)
    assert lost == list(range(1, n + 1))
    batches.split(lost)
    while batches:
        given.append(batches.take(1))
        if n in given[-1] and len(given[-1]) > 1:
            batches.split(given.pop())
    assert sorted(number for numbers in given for number in numbers) == list(range(1, n + 1))
    assert [n] in given
    assert len(given) <= 2 * n**0.5 + 4


def test_slow_jobs_stay_alone() -> None:
    batches = Batches(4)
    for number in range(4):
        assert batches.take(2) == [number]
        batches.took(1, 30.0)
