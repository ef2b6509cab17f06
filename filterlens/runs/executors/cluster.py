"""Jobs on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filterlens.errors import DumpError, InputError, MissingExtraError
from filterlens.process.interruption import handle_signals, on_interruption
from filterlens.process.logs import follow_logging
from filterlens.runs.executors.protocol import Listener, Work, WorkerLost

__all__ = ["RayCluster"]

Job = TypeVar("Job")
Result = TypeVar("Result")
_RETRIES = 3


@dataclass(frozen=True, slots=True)
class _Place:
    """What a job sees of the driver's surroundings on whichever node it runs."""

    folder: str
    environment: dict[str, str]
    threads: int


class RayCluster:
    """A Ray cluster: schedules processors and GPUs, and survives the loss of a node.

    Jobs run in the driver's working folder, which every node must see, as it must see the run's folder.

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

    def run(
        self, jobs: Sequence[Job], work: Work[Job, Result], listener: Listener
    ) -> Iterator[tuple[Job, Result | WorkerLost]]:
        """Yield every job with its result as it finishes; Ray itself moves jobs off nodes that are lost."""
        if not jobs:
            return
        ray = _import_ray()
        ours = not ray.is_initialized()
        if not ours:
            yield from self._run(ray, jobs, work, listener)
            return
        self._connect(ray)
        with on_interruption(lambda wait: wait and ray.shutdown()):
            try:
                yield from self._run(ray, jobs, work, listener)
            finally:
                ray.shutdown()

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
        remote = ray.remote(
            num_cpus=self.cpus_per_model, num_gpus=self.gpus_per_model, max_retries=_RETRIES, max_calls=20
        )(_on_node)
        pending = {remote.remote(work, job, number, messages, place): job for number, job in enumerate(jobs)}
        try:
            while pending:
                finished, _ = ray.wait(list(pending), num_returns=1, timeout=0.5)
                for number, what, done, total in messages.get_nowait_batch(messages.qsize()):
                    listener(jobs[number], what, done, total)
                for reference in finished:
                    job = pending.pop(reference)
                    try:
                        yield job, ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        yield job, WorkerLost(f"its job failed on the cluster: {error.cause}")
                    except ray.exceptions.RayError as error:
                        yield job, WorkerLost(f"the cluster lost it {_RETRIES + 1} times ({type(error).__name__})")
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)
            messages.shutdown(force=True)

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
        raise MissingExtraError("--ray needs Ray: pip install 'filterlens[ray]'") from error
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


def _on_node(work: Work[Job, Result], job: Job, number: int, messages: Any, place: _Place) -> Result:  # noqa: ANN401 - Ray's queue
    import torch
    from ray.exceptions import RayError

    def report_progress(what: str, done: int, total: int) -> None:
        with contextlib.suppress(RayError):  # nobody listens any more
            messages.put((number, what, done, total))

    try:
        os.chdir(place.folder)
    except OSError as error:
        raise DumpError(
            f"node {socket.gethostname()} does not see {place.folder}: start the audit in a folder that all nodes share"
        ) from error
    os.environ.update(place.environment)
    follow_logging()
    torch.set_num_threads(place.threads)
    return work(job, report_progress)
