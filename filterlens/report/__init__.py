"""From scores to the tables and figures of a paper, and a page that people like to read. Imports no torch.

Its names are imported when they are first used: audits need a style or a caution of it, and none of its statistics.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filterlens.report.comparison import robust_vs_normal
    from filterlens.report.data import RunData, read_run
    from filterlens.report.write import ReportWarning, write_report

__all__ = ["ReportWarning", "RunData", "read_run", "robust_vs_normal", "write_report"]

_HOME = {
    "ReportWarning": "write",
    "RunData": "data",
    "read_run": "data",
    "robust_vs_normal": "comparison",
    "write_report": "write",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'filterlens.report' has no attribute {name!r}")
    return getattr(import_module(f"filterlens.report.{_HOME[name]}"), name)
