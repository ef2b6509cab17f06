"""filterlens: what a vision checkpoint's weights and feature maps give away.

Every command is a function of the same words, which returns tables or small objects and prints nothing. Only `import`
is a word of Python's own: `filterlens import filterdb` is `filterlens.import_filterdb`, and a group of commands is
written likewise (`filterlens study filters`: `filterlens.study_filters`).

Public names are imported when they are first used, so that `import filterlens` loads neither torch nor matplotlib.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from filterlens.version import __version__ as __version__

if TYPE_CHECKING:
    from filterlens.catalogs import Catalog, Entry, load_catalog
    from filterlens.commands.assertion import assert_scores
    from filterlens.commands.audit import analyze, audit, extract
    from filterlens.commands.bounds import BoundCheck
    from filterlens.commands.card import Card, card
    from filterlens.commands.catalogs import catalogs, catalogs_lock
    from filterlens.commands.check import check
    from filterlens.commands.compare import compare
    from filterlens.commands.estimate import Estimate, estimate
    from filterlens.commands.explain import bibtex, explain
    from filterlens.commands.fetch import fetch
    from filterlens.commands.filterdb import export_filterdb, import_filterdb
    from filterlens.commands.inspect import Inspection, inspect
    from filterlens.commands.listing import ls
    from filterlens.commands.load import load_model
    from filterlens.commands.log import log
    from filterlens.commands.measure import measure
    from filterlens.commands.notebook import Run
    from filterlens.commands.report import report
    from filterlens.commands.schemas import schema
    from filterlens.commands.selftest import selftest
    from filterlens.commands.table import table
    from filterlens.commands.train import train, train_manifold, train_zoo
    from filterlens.errors import FilterlensError
    from filterlens.lens import Lens, Options, RunSettings
    from filterlens.score import Score, score
    from filterlens.studies import study_filters, study_flatness, study_manifold


__all__ = [
    "BoundCheck",
    "Card",
    "Catalog",
    "Entry",
    "Estimate",
    "FilterlensError",
    "Inspection",
    "Lens",
    "Options",
    "Run",
    "RunSettings",
    "Score",
    "analyze",
    "assert_scores",
    "audit",
    "bibtex",
    "card",
    "catalogs",
    "catalogs_lock",
    "check",
    "compare",
    "estimate",
    "explain",
    "export_filterdb",
    "extract",
    "fetch",
    "import_filterdb",
    "inspect",
    "load_catalog",
    "load_model",
    "log",
    "ls",
    "measure",
    "report",
    "schema",
    "score",
    "selftest",
    "study_filters",
    "study_flatness",
    "study_manifold",
    "table",
    "train",
    "train_manifold",
    "train_zoo",
]

_HOME = {
    "BoundCheck": "commands.bounds",
    "Card": "commands.card",
    "Catalog": "catalogs",
    "Entry": "catalogs",
    "Estimate": "commands.estimate",
    "FilterlensError": "errors",
    "Inspection": "commands.inspect",
    "Lens": "lens",
    "Options": "lens",
    "Run": "commands.notebook",
    "RunSettings": "lens",
    "Score": "score",
    "analyze": "commands.audit",
    "assert_scores": "commands.assertion",
    "audit": "commands.audit",
    "bibtex": "commands.explain",
    "card": "commands.card",
    "catalogs": "commands.catalogs",
    "catalogs_lock": "commands.catalogs",
    "check": "commands.check",
    "compare": "commands.compare",
    "estimate": "commands.estimate",
    "explain": "commands.explain",
    "export_filterdb": "commands.filterdb",
    "extract": "commands.audit",
    "fetch": "commands.fetch",
    "import_filterdb": "commands.filterdb",
    "inspect": "commands.inspect",
    "load_catalog": "catalogs",
    "load_model": "commands.load",
    "log": "commands.log",
    "ls": "commands.listing",
    "measure": "commands.measure",
    "report": "commands.report",
    "schema": "commands.schemas",
    "score": "score",
    "selftest": "commands.selftest",
    "study_filters": "studies",
    "study_flatness": "studies",
    "study_manifold": "studies",
    "table": "commands.table",
    "train": "commands.train",
    "train_manifold": "commands.train",
    "train_zoo": "commands.train",
}


class _Package(ModuleType):
    """The package itself, in which `catalogs`, `report` and `score` stay functions.

    There are modules of the same names, and Python would put each in the function's place once it has been imported.
    `from filterlens.score import …` finds them all the same.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'filterlens' has no attribute {name!r}")
    return getattr(import_module(f"filterlens.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
