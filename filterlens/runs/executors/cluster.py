"""Jobs on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from filterlens.errors import InputError, MissingExtraError
from filterlens.process.interruption import handle_signals, on_interruption
from filterlens.process.logs import follow_logging
from filterlens.runs.executors.batches import Batches
from filterlens.runs.executors.local import LocalProcesses
from filterlens.runs.executors.protocol import Executor, Listener, Work, WorkerLost

__all__ = ["RayCluster"]

Job = TypeVar("Job")
Result = TypeVar("Result")
_RETRIES: Final = 3
_IN_FLIGHT: Final = 2  # tasks for each that can run: one runs, one is on its way
_LISTEN: Final = 0.2  # seconds between two looks at what the nodes say


@dataclass(frozen=True, slots=True)
class _Place:
    """What a job sees of the driver's surroundings on whichever node it runs."""

    folder: str
    environment: dict[str, str]
    threads: int


class RayCluster:
    """A Ray cluster: schedules processors and GPUs, and survives the loss of a node.

    Jobs travel to the nodes and their results back; small ones several in a task. Nodes need share no folder with the
    driver: where they see its working folder, jobs run in it.

    Parameters
    ----------
    address
        `auto` for the cluster that this machine belongs to, else its address; `local` starts one here.
    gpus_per_model
        GPUs that one job takes; fractions share a GPU.
    cpus_per_model
        Processors that one job takes, each a thread.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    InputError
        No cluster answers at the address, or none of its nodes can take a job.
    """

    local = False

    def __init__(self, address: str = "auto", *, gpus_per_model: float = 0.0, cpus_per_model: float = 1.0) -> None:
        self.address = address
        self.gpus_per_model = gpus_per_model
        self.cpus_per_model = cpus_per_model

    def for_analysis(self, folder: Path | None) -> Executor:
        """Return the same cluster without its GPUs, or processes of this machine where nodes do not see a folder."""
        cluster = RayCluster(self.address, cpus_per_model=self.cpus_per_model)
        if folder is None or self.address == "local" or cluster._sees(folder):
            return cluster
        return LocalProcesses(os.cpu_count() or 1)

    def keep_workers(self, _: Sequence[str] = ()) -> AbstractContextManager[None]:
        """Do nothing: the cluster keeps its own."""
        return contextlib.nullcontext()

    def run(
        self, jobs: Sequence[Job], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        """Yield every job with its result as it finishes; Ray itself moves tasks off nodes that are lost."""
        if not jobs:
            return
        with self._connected() as ray:
            yield from self._run(ray, jobs, work, listener)

    def _run(
        self,
        ray: Any,  # noqa: ANN401 - the optional module itself
        jobs: Sequence[Job],
        work: Work[Job, Result],
        listener: Listener,
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        self._check_nodes(ray)
        messages = _message_queue(ray)
        place = _Place(
            folder=str(Path.cwd()),
            environment={name: value for name, value in os.environ.items() if name.startswith("FILTERLENS_")},
            threads=max(1, int(self.cpus_per_model)),
        )
        remote = ray.remote(num_cpus=self.cpus_per_model, num_gpus=self.gpus_per_model, max_calls=20)(_on_node)
        batches = Batches(len(jobs))
        pending: dict[Any, list[int]] = {}
        looked = 0.0
        try:
            while pending or batches:
                at_once = self._at_once(ray)
                while batches and len(pending) < _IN_FLIGHT * at_once:
                    numbers = batches.take(at_once)
                    retries = _RETRIES if len(numbers) == 1 else 0  # several that are lost are split
                    task = remote.options(max_retries=retries).remote(
                        work, [jobs[number] for number in numbers], numbers, messages, place
                    )
                    pending[task] = numbers
                finished, _ = ray.wait(list(pending), num_returns=1, timeout=0.5)
                if time.monotonic() - looked > _LISTEN:
                    looked = time.monotonic()
                    for number, what, done, total in messages.get_nowait_batch(messages.qsize()):
                        listener(jobs[number], what, done, total)
                for task in finished:
                    numbers = pending.pop(task)
                    try:
                        found, seconds = ray.get(task)
                    except ray.exceptions.RayError as error:
                        if len(numbers) > 1:
                            batches.split(numbers)
                        else:
                            yield jobs[numbers[0]], WorkerLost(_why_lost(ray, error))
                        continue
                    batches.took(len(numbers), seconds)
                    for number, result in zip(numbers, found, strict=True):
                        yield jobs[number], result
        finally:
            for task in pending:
                ray.cancel(task, force=True)
            messages.shutdown(force=True)

    def _at_once(self, ray: Any) -> int:  # noqa: ANN401 - the optional module itself
        """How many tasks the cluster can run together; nodes come and go."""
        every = ray.cluster_resources()
        most = every.get("CPU", 0) / self.cpus_per_model
        if self.gpus_per_model:
            most = min(most, every.get("GPU", 0) / self.gpus_per_model)
        return max(1, int(most))

    def _sees(self, folder: Path) -> bool:
        """Whether every node sees a folder of this machine: which file holds it is known to its holder alone."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        holder = (folder / ".holder").resolve()
        expected = holder.read_bytes()
        with self._connected() as ray:
            look = ray.remote(num_cpus=0, max_retries=0)(_content)
            nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
            tasks = [
                look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(str(holder))
                for node in nodes
            ]
            try:
                return all(found == expected for found in ray.get(tasks))
            except ray.exceptions.RayError:
                return False

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        """Give the Ray module, connected; a connection of somebody else's stays as it is."""
        ray = _import_ray()
        if ray.is_initialized():
            yield ray
            return
        self._connect(ray)
        with on_interruption(lambda wait: wait and ray.shutdown()):
            try:
                yield ray
            finally:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:  # noqa: ANN401 - the optional module itself
        where: dict[str, Any] = {"address": self.address}
        if self.address == "local":
            where = {"address": "local", "_node_ip_address": "127.0.0.1"}
        _check_reachable(self.address)
        # Ray has its workers import from the driver's working folder: here, from one that is on their path anyway
        with contextlib.chdir(Path(os.__file__).parent):
            try:
                ray.init(**where, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise _unreachable_error(self.address, error) from error
            finally:
                handle_signals()  # Ray has put its own handlers in place

    def _check_nodes(self, ray: Any) -> None:  # noqa: ANN401 - the optional module itself
        """Refuse jobs that no node can take: Ray would wait for such a node for ever."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(
            node.get("CPU", 0) >= self.cpus_per_model and node.get("GPU", 0) >= self.gpus_per_model for node in nodes
        ):
            most = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")}
            raise InputError(
                f"no node of the Ray cluster has {self.cpus_per_model:g} processors and {self.gpus_per_model:g} GPUs "
                f"(at most {most['CPU']:g} and {most['GPU']:g}): lower --cpus-per-model or --gpus-per-model, "
                "or start a larger node first"
            )


def _import_ray() -> Any:  # noqa: ANN401 - the optional module itself
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError('--ray needs Ray: pip install "filterlens[ray]"') from error
    return ray


def _check_reachable(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes, and end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _unreachable_error(address, error) from error


def _unreachable_error(address: str, error: Exception) -> InputError:
    return InputError(
        f"no Ray cluster answers at {address!r} ({error}): start one with `ray start --head`, or use --ray local"
    )


def _message_queue(ray: Any) -> Any:  # noqa: ANN401 - the optional module's own types
    """Make a queue for progress; it lives on the driver's node, so that no lost node takes it along."""
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


def _why_lost(ray: Any, error: Exception) -> str:  # noqa: ANN401 - the optional module itself
    if isinstance(error, ray.exceptions.RayTaskError):
        return f"its job failed on the cluster: {error.cause}"
    return f"the cluster lost it {_RETRIES + 1} times ({type(error).__name__})"


def _content(path: str) -> bytes:
    """Content of a file on whichever node, empty where it is not seen."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _on_node(
    work: Work[Job, Result],
    jobs: Sequence[Job],
    numbers: Sequence[int],
    messages: Any,  # noqa: ANN401 - Ray's queue
    place: _Place,
) -> tuple[list[Result | WorkerLost], float]:
    """Do jobs, one after the other.

    Returns
    -------
    results
        Of each; one that raises costs itself only.
    seconds
        That they took.
    """
    import torch
    from ray.exceptions import RayError

    begun, told = time.monotonic(), -1.0

    def report_progress(number: int, what: str, done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > _LISTEN:
            told = time.monotonic()
            with contextlib.suppress(RayError):  # nobody listens any more
                messages.put((number, what, done, total))

    os.chdir(place.folder if Path(place.folder).is_dir() else tempfile.gettempdir())
    os.environ.update(place.environment)
    follow_logging()
    torch.set_num_threads(place.threads)
    results: list[Result | WorkerLost] = []
    for number, job in zip(numbers, jobs, strict=True):
        try:
            results.append(work(job, partial(report_progress, number)))
        except Exception as error:  # noqa: BLE001 - a job costs itself only
            results.append(WorkerLost(f"its job failed on the cluster: {type(error).__name__}: {error}"))
    return results, time.monotonic() - begun
