"""filterlens: what a vision checkpoint's weights and feature maps give away.

Public names are imported when they are first used, so that `import filterlens` loads neither torch nor matplotlib.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filterlens.catalogs import Catalog, Entry, load_catalog
    from filterlens.commands.audit import analyze, audit, extract, report
    from filterlens.commands.load import load_model
    from filterlens.commands.measure import measure
    from filterlens.commands.notebook import Run
    from filterlens.errors import FilterlensError
    from filterlens.lens import Lens, Options, RunSettings
    from filterlens.score import Score, score

__version__ = "0.1.0"

__all__ = [
    "Catalog",
    "Entry",
    "FilterlensError",
    "Lens",
    "Options",
    "Run",
    "RunSettings",
    "Score",
    "analyze",
    "audit",
    "extract",
    "load_catalog",
    "load_model",
    "measure",
    "report",
    "score",
]

_HOME = {
    "Catalog": "catalogs",
    "Entry": "catalogs",
    "FilterlensError": "errors",
    "Lens": "lens",
    "Options": "lens",
    "Run": "commands.notebook",
    "RunSettings": "lens",
    "Score": "score",
    "analyze": "commands.audit",
    "audit": "commands.audit",
    "extract": "commands.audit",
    "load_catalog": "catalogs",
    "load_model": "commands.load",
    "measure": "commands.measure",
    "report": "commands.audit",
    "score": "score",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'filterlens' has no attribute {name!r}")
    return getattr(import_module(f"filterlens.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


class _PublicNames(ModuleType):
    """Keeps `filterlens.report` and `filterlens.score` functions: Python would set the modules of these names here."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _PublicNames
