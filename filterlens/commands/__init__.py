"""The Python twins of the commands: one function each, which returns tables or objects and prints nothing."""

from __future__ import annotations

from filterlens.commands.audit import analyze, audit, extract
from filterlens.commands.plan import Plan, plan
from filterlens.commands.report import cautions, report

__all__ = ["Plan", "analyze", "audit", "cautions", "extract", "plan", "report"]
