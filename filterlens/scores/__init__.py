"""The register of scores: what each one is called, measures, and means. Imports no torch.

A score is a pure function on arrays (in `filterlens.analyzers`) plus one frozen descriptor here. The command
line, the report's headings and arrows, `filterlens explain`, the docs and the parametrised tests all read it.
"""

from __future__ import annotations

from filterlens.scores.descriptor import Score
from filterlens.scores.register import all_scores, get_score, register
from filterlens.scores.table import COLUMNS, model_scores, read_scores, write_scores

__all__ = [
    "COLUMNS",
    "Score",
    "all_scores",
    "get_score",
    "model_scores",
    "read_scores",
    "register",
    "write_scores",
]
