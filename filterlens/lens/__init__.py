"""The register of lenses and of their scores: built-in ones and those of installed packages alike.

A lens is one way of looking at a model, and one folder: what it takes from the model (`extractor.py`), what it
computes from that (`analyzer.py` and a file for each score), what it shows (`figures`, `tables.py`) and what a user
may turn (`options.py`). Its `LENS` names its functions by path, so that listing lenses imports no heavy library.
Third parties add a lens through the entry point group `filterlens.lenses`, and scores of a lens that exists through
`filterlens.scores`, which names the module that declares them.
"""

from __future__ import annotations

from filterlens.lens.contexts import Each, ExtractContext, OpenGroup, PoolContext, PooledModel
from filterlens.lens.options import Dumps, Options, RunSettings, option, option_names, with_options
from filterlens.lens.register import (
    Lens,
    all_lenses,
    all_scores,
    get_lens,
    get_score,
    options_of,
    score_rows,
    scores_of,
)

__all__ = [
    "Dumps",
    "Each",
    "ExtractContext",
    "Lens",
    "OpenGroup",
    "Options",
    "PoolContext",
    "PooledModel",
    "RunSettings",
    "all_lenses",
    "all_scores",
    "get_lens",
    "get_score",
    "option",
    "option_names",
    "options_of",
    "score_rows",
    "scores_of",
    "with_options",
]
