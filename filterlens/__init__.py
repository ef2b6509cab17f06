"""filterlens: what a vision checkpoint's weights and feature maps give away.

Public names are imported when they are first used, so that `import filterlens` loads neither torch nor matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filterlens.api import analyze, audit, extract, load_model, write_report
    from filterlens.catalogs import Catalog, Entry, load_catalog
    from filterlens.errors import FilterlensError
    from filterlens.lenses import Lens
    from filterlens.measuring import measure
    from filterlens.notebook import Run
    from filterlens.scores import Score
    from filterlens.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Catalog",
    "Entry",
    "FilterlensError",
    "Lens",
    "Run",
    "Score",
    "Settings",
    "analyze",
    "audit",
    "extract",
    "load_catalog",
    "load_model",
    "measure",
    "write_report",
]

_HOME = {
    "Catalog": "catalogs",
    "Entry": "catalogs",
    "FilterlensError": "errors",
    "Lens": "lenses",
    "Run": "notebook",
    "Score": "scores",
    "Settings": "settings",
    "analyze": "api",
    "audit": "api",
    "extract": "api",
    "load_catalog": "catalogs",
    "load_model": "api",
    "measure": "measuring",
    "write_report": "api",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'filterlens' has no attribute {name!r}")
    return getattr(import_module(f"filterlens.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
