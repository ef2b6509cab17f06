"""Where jobs run: this process, local processes, or a Ray cluster.

An executor takes picklable jobs and a module-level function `work(job, progress)`, and yields `(job, result)` as
they finish, in any order. A worker that dies (out of memory, lost node) costs its own job only: the job comes back
with a `WorkerLost` result. Numbers do not depend on the executor.
"""

from __future__ import annotations

from filterlens.runs.executors.cluster import RayCluster
from filterlens.runs.executors.local import InProcess, LocalProcesses
from filterlens.runs.executors.protocol import Executor, Progress, WorkerLost

__all__ = ["Executor", "InProcess", "LocalProcesses", "Progress", "RayCluster", "WorkerLost"]
