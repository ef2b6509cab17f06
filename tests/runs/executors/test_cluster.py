"""A Ray cluster of two nodes on this machine gives what one process gives, also when a node is lost."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from small_zoo import make_zoo

from filterlens.catalogs import load_catalog
from filterlens.commands.audit import choose_lenses
from filterlens.dumps import DumpReader
from filterlens.errors import InputError
from filterlens.lens import RunSettings
from filterlens.process.files import write_atomically
from filterlens.runs import Event, analyze, extract
from filterlens.runs.executors import Executor, InProcess, LocalProcesses, RayCluster, WorkerLost
from filterlens.score import read_scores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Progress = Callable[[str, int, int], None]
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 1 << 14, 1 << 18  # of Linux
HEAD, SECOND = "127.0.0.2", "127.0.0.3"  # loopback addresses that Ray does not take for "any address of this machine"


SMALL: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 << 20}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one processor each, the head being one of them, and a driver connected to it."""
    with two_nodes(
        monkeypatch, head=SMALL, second=lambda found: found.add_node(**SMALL, node_ip_address=SECOND)
    ) as found:
        yield found


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A driver in a working folder that the one node which does jobs sees as an empty one."""
    work = tmp_path / "work"
    work.mkdir()

    with ThreadPoolExecutor(1) as thread:  # processes see what their thread sees, and end with it

        def add(found: Any) -> Any:
            with monkeypatch.context() as patched:
                patched.setattr("ray._private.utils.set_sigterm_handler", lambda _: None)  # the main thread's alone
                return thread.submit(_add_apart, found, work).result()

        with two_nodes(monkeypatch, head={**SMALL, "num_cpus": 0}, second=add) as found:
            monkeypatch.chdir(work)
            yield found


def _add_apart(found: Any, hidden: Path) -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        pytest.skip("this user may not give a process other folders than its own")
    private = libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    assert private == 0
    assert libc.mount(b"none", bytes(hidden), b"tmpfs", 0, None) == 0
    assert not list(hidden.iterdir())
    return found.add_node(**SMALL, node_ip_address=SECOND)


@contextmanager
def two_nodes(monkeypatch: pytest.MonkeyPatch, *, head: dict[str, Any], second: Callable[[Any], Any]) -> Iterator[Any]:
    """Start a cluster, its second node by a function, and connect this process as its driver."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.cluster_utils import Cluster

    found: Any = Cluster(
        initialize_head=True, head_node_args={**head, "node_ip_address": HEAD, "include_dashboard": False}
    )
    found.second = second(found)
    ray.init(
        address=found.address,
        _node_ip_address=HEAD,
        include_dashboard=False,
        logging_level="ERROR",  # type: ignore[arg-type]  # Ray takes names too
        log_to_driver=False,
    )
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let this process compute as a worker with one processor does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def audit(folder: Path, executor: Executor, listener: Callable[[Any], None] = lambda _: None) -> pd.DataFrame:
    """Extract and score three networks of the zoo on FONTS."""
    catalog = load_catalog("fonts-linf").select(["resnet*"])
    assert len(catalog) >= 3
    outcome = extract(
        catalog,
        folder,
        lenses=choose_lenses(["filters", "downsampling", "robustness"], {"images": 16}, fast=True),
        executor=executor,
        listener=listener,
    )
    assert {row.status for row in outcome.rows} == {"ok"}
    return analyze(folder).sort_values(["model_id", "metric", "layer"], ignore_index=True)


def arrays(folder: Path) -> dict[tuple[str, str, str], np.ndarray]:
    """Return every array of every dump of a run."""
    found: dict[tuple[str, str, str], np.ndarray] = {}
    for path in sorted((folder / "dumps").glob("*.h5")):
        with DumpReader(path) as dump:
            for lens in dump.lenses:
                group = dump.lens(lens)
                found |= {(path.stem, lens, name): group.read(name) for name in group.names()}
    return found


@pytest.mark.usefixtures("cluster", "one_thread")
def test_a_cluster_gives_the_same_dumps_and_scores_bit_for_bit(tmp_path: Path) -> None:
    heard: list[str] = []
    there = audit(tmp_path / "cluster", RayCluster(), lambda event: heard.append(event.what))
    here = audit(tmp_path / "here", InProcess())
    pd.testing.assert_frame_equal(there, here, check_exact=True)
    theirs, ours = arrays(tmp_path / "cluster"), arrays(tmp_path / "here")
    assert theirs.keys() == ours.keys()
    assert all(theirs[key].tobytes() == ours[key].tobytes() for key in ours)
    assert {"loading", "robustness"} <= set(heard)  # progress comes from inside the jobs


@pytest.mark.usefixtures("one_thread")
def test_a_node_removed_in_the_middle_of_an_audit_loses_nothing(tmp_path: Path, cluster: Any) -> None:
    running: set[str] = set()

    def remove_once_both_nodes_work(event: Any) -> None:
        running.add(event.model_id)
        if len(running) == 2 and cluster.second is not None:
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.second = None

    there = audit(tmp_path / "cluster", RayCluster(), remove_once_both_nodes_work)
    assert cluster.second is None
    pd.testing.assert_frame_equal(there, audit(tmp_path / "here", InProcess()), check_exact=True)
    assert not list((tmp_path / "cluster" / "dumps").glob(".*.tmp"))


def test_the_job_of_a_lost_node_runs_again_on_another(tmp_path: Path, cluster: Any) -> None:
    second = cluster.second.node_id

    def work(job: int, progress: Progress) -> str:
        import time
        from pathlib import Path

        import ray

        node = ray.get_runtime_context().get_node_id()
        with (tmp_path / f"{job}").open("a") as file:
            file.write(f"{node}\n")
        progress(node, 0, 1)
        while node == second and not (tmp_path / "never").exists():
            time.sleep(0.1)  # only the loss of the node ends this
        return f"{job} by {Path.cwd()}"

    def remove_the_second(job: int, node: str, *_: int) -> None:
        if node == second and cluster.second is not None:
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.second = None

    results = dict(RayCluster().run(range(4), work, remove_the_second))
    assert results == {job: f"{job} by {Path.cwd()}" for job in range(4)}
    tried = [(tmp_path / f"{job}").read_text().split() for job in range(4)]
    assert sum(second in nodes for nodes in tried) == 1
    assert all(nodes[-1] != second for nodes in tried)


@pytest.mark.usefixtures("cluster")
def test_a_job_that_fails_on_a_node_costs_itself_only() -> None:
    def work(job: int, progress: Progress) -> int:
        if job == 1:
            raise ValueError("not this one")
        return job

    results = dict(RayCluster().run(range(3), work, lambda *_: None))
    lost = results.pop(1)
    assert isinstance(lost, WorkerLost)
    assert "not this one" in lost.reason
    assert results == {0: 0, 2: 2}


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("wanted", [{"gpus_per_model": 1.0}, {"cpus_per_model": 2.0}], ids=["gpu", "processors"])
def test_a_job_that_no_node_can_take_is_refused_instead_of_waiting_for_ever(wanted: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no node of the Ray cluster has"):
        list(RayCluster(**wanted).run([1], lambda job, _: job, lambda *_: None))


def test_an_address_where_no_cluster_answers_is_named() -> None:
    with pytest.raises(InputError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        list(RayCluster("127.0.0.1:1").run([1], lambda job, _: job, lambda *_: None))


@pytest.mark.usefixtures("apart", "one_thread")
@pytest.mark.parametrize("dumps", ["all", "none"])
def test_nodes_that_see_another_working_folder_give_the_same_bit_for_bit(tmp_path: Path, dumps: Any) -> None:
    catalog = load_catalog("fonts-linf").select(["resnet*"])
    heard: list[Event] = []
    cluster, settings = RayCluster(), RunSettings(dumps=dumps)
    tables = {}
    for where, executor in (
        (Path("there"), cluster),
        (Path("here"), InProcess()),
    ):  # relative to the folder that is hidden
        for lens in ("filters", "frequency"):
            outcome = extract(catalog, where, lenses=[lens], settings=settings, executor=executor)
            assert {row.status for row in outcome.rows} == {"ok"}
        analyze(where, executor=executor, settings=settings, listener=heard.append)
        tables[str(where)] = read_scores(where / "scores.parquet")
    names = ["model_id", "metric", "layer"]
    ours, theirs = (tables[name].sort_values(names, ignore_index=True) for name in ("there", "here"))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert any("do not see there" in event.note for event in heard)
    with DumpReader(Path("there/pooled.h5")) as a, DumpReader(Path("here/pooled.h5")) as b:
        for name in b.lens("filters").names():
            assert a.lens("filters").read(name).tobytes() == b.lens("filters").read(name).tobytes()


@pytest.mark.usefixtures("apart")
def test_a_node_without_the_catalogs_local_files_says_so() -> None:
    outcome = extract(load_catalog(make_zoo(Path("zoo"))), Path("run"), executor=RayCluster())
    assert {row.status for row in outcome.rows} == {"failed"}
    assert all("does not see the driver's 'net" in row.reason for row in outcome.rows)


@pytest.mark.usefixtures("apart")
def test_dumps_are_analysed_where_they_are_seen_and_never_with_a_gpu(tmp_path: Path) -> None:
    for place, kind in ((Path("hidden"), LocalProcesses), (tmp_path / "seen", RayCluster)):
        write_atomically(place / ".holder", f"process {os.getpid()}, {place}")
        found = RayCluster(gpus_per_model=1).for_analysis(place)
        assert isinstance(found, kind)
        if isinstance(found, RayCluster):
            assert found.gpus_per_model == 0


class Watched(Sequence[int]):
    """Ten thousand jobs that count how many are given out and have not come back."""

    def __init__(self) -> None:
        self.given: set[int] = set()
        self.back = self.most = 0

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, number: Any) -> Any:
        self.given.add(number)
        self.most = max(self.most, len(self.given) - self.back)
        return number


@pytest.mark.usefixtures("cluster")
def test_ten_thousand_small_jobs_travel_together_a_few_tasks_at_a_time(tmp_path: Path) -> None:
    def work(job: int, progress: Progress) -> int:
        progress("squaring", 0, 1)
        if job == 5000 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), 9)
        return job * job

    jobs, found = Watched(), {}
    for job, result in RayCluster().run(jobs, work, lambda *_: None):
        jobs.back += 1
        found[job] = result
    assert found == {job: job * job for job in range(10_000)}
    assert jobs.most <= 4 * 200  # two tasks for each of two processors


@pytest.mark.usefixtures("cluster")
def test_a_job_that_kills_its_worker_every_time_costs_itself_only() -> None:
    def work(job: int, _: Progress) -> int:
        if job == 700:
            os.kill(os.getpid(), 9)
        return job

    found = dict(RayCluster().run(range(1000), work, lambda *_: None))
    lost = found.pop(700)
    assert isinstance(lost, WorkerLost)
    assert "the cluster lost it 4 times" in lost.reason
    assert found == {job: job for job in range(1000) if job != 700}
