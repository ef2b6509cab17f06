"""From scores to the tables and figures of a paper, and a page that people like to read. Imports no torch."""

from __future__ import annotations

from filterlens.report.comparison import robust_vs_normal
from filterlens.report.data import RunData, read_run
from filterlens.report.write import ReportWarning, write_report

__all__ = ["ReportWarning", "RunData", "read_run", "robust_vs_normal", "write_report"]
