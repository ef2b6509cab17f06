"""The Python twins of the commands: one function each, which returns tables or objects and prints nothing."""

from __future__ import annotations

from filterlens.commands.audit import analyze, audit, cautions, extract, report
from filterlens.commands.plan import Plan, plan

__all__ = ["Plan", "analyze", "audit", "cautions", "extract", "plan", "report"]
