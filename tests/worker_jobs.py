"""Jobs for the executors' tests: worker processes import them by name."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

Progress = Callable[[str, int, int], None]


def square(job: int, progress: Progress) -> int:
    progress("squaring", 1, 1)
    return job * job


def die_on_three(job: int, progress: Progress) -> int:
    if job == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def die_once(job: str, progress: Progress) -> str:
    if not Path(job).exists():
        Path(job).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def refuse_negative(job: int, progress: Progress) -> int:
    if job < 0:
        raise ValueError(f"no square of {job}")
    return job


def tell_for_ever(job: str, progress: Progress) -> None:
    while True:
        progress("x" * 1000, 0, 1)


def own_process(_: object, progress: Progress) -> int:
    return os.getpid()


def surroundings(module: str, progress: Progress) -> tuple[bool, int]:
    """Whether a module is imported, and how many threads the process has that this one was forked from."""
    return module in sys.modules, len(list(Path(f"/proc/{os.getppid()}/task").iterdir()))
