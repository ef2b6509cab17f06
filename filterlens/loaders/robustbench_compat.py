"""Let robustbench 1.1 be imported, and let it read checkpoints without running them.

robustbench 1.1.1 imports `pkg_resources`, which setuptools 82 dropped, for a function that loading a model does not
need; and it imports `autoattack`, which is on no package index: the `pyautoattack` that it declares is the same code
under another name. Both names are answered only while robustbench is being imported, and taken away again.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import threading
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from filterlens.loaders.checkpoint import read

__all__ = ["made_without_cuda", "robustbench", "safe_torch_load"]

_LOCK: Final = threading.RLock()
_STANDS_FOR: Final = {"autoattack": "pyautoattack", "autoattack.state": "pyautoattack.state"}


def robustbench() -> types.ModuleType:
    """Import robustbench, whatever is missing around it."""
    with _LOCK:
        if "robustbench" in sys.modules:
            return sys.modules["robustbench"]
        added: list[str] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for name, module in _answers():
                    sys.modules[name] = module
                    added.append(name)
                return importlib.import_module("robustbench")
        finally:
            for name in added:
                del sys.modules[name]


def _answers() -> Iterator[tuple[str, types.ModuleType]]:
    if importlib.util.find_spec("pkg_resources") is None:
        module = types.ModuleType("pkg_resources")
        module.__dict__["resource_filename"] = _resource_filename
        yield "pkg_resources", module
    if importlib.util.find_spec("autoattack") is None:
        for name, other in _STANDS_FOR.items():
            yield name, importlib.import_module(other)


def _resource_filename(package: str, name: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package)
    return str(Path(spec.origin).parent / name)


class _Torch:
    """Torch as robustbench's loading function sees it: `load` reads without running."""

    def __init__(self, torch: types.ModuleType) -> None:
        self._torch = torch
        self.notes: list[str] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a module's attributes
        return getattr(self._torch, name)

    def load(self, path: str | Path, **_keywords: object) -> object:
        """Read a checkpoint; only the CPU is ever asked for."""
        checkpoint = read(Path(path))
        self.notes.extend(checkpoint.notes)
        return checkpoint.content


@contextlib.contextmanager
def safe_torch_load() -> Iterator[list[str]]:
    """Let `robustbench.utils.load_model` read files through our reader; yields the notes it leaves.

    robustbench calls `torch.load` itself, whose default ran pickles before torch 2.6. Only the name `torch` in
    `robustbench.utils` is changed, and only here.
    """
    robustbench()
    utils = importlib.import_module("robustbench.utils")
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = utils.torch
        stand_in = _Torch(torch)
        try:
            utils.__dict__["torch"] = stand_in
            yield stand_in.notes
        finally:
            utils.__dict__["torch"] = torch


@contextlib.contextmanager
def made_without_cuda() -> Iterator[None]:
    """Let networks whose constructors put tensors on a GPU (Bai2023) be made on a machine that has none."""
    import torch

    if torch.cuda.is_available():
        yield
        return
    with _LOCK:
        cuda = torch.Tensor.cuda
        try:
            torch.Tensor.cuda = _stay  # type: ignore[method-assign, assignment]
            yield
        finally:
            torch.Tensor.cuda = cuda  # type: ignore[method-assign]


def _stay(tensor: Any, *_: object, **__: object) -> Any:  # noqa: ANN401 - a tensor, of a library that is loaded late
    return tensor
