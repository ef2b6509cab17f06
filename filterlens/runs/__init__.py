"""Which models x which lenses: extract, analyse, resume.

`extract` fills a run's folder with dumps, `analyze` turns dumps into `scores.parquet` and `pooled.h5`. Both do only
what is missing: a job is done when the ledger has it under the same key (source, settings, schema) and its dump is
there. One model's failure never stops the others.
"""

from __future__ import annotations

from filterlens.runs.analysis import analyze
from filterlens.runs.events import Event, Outcome
from filterlens.runs.extraction import check_device, extract
from filterlens.runs.jobs import Job
from filterlens.runs.remaining import Remaining, remaining

__all__ = ["Event", "Job", "Outcome", "Remaining", "analyze", "check_device", "extract", "remaining"]
