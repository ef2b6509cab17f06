"""Which scores there are. Each lens lists its own in `filterlens/scores/LENS.py` as `SCORES`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module

from filterlens.errors import InputError
from filterlens.scores.descriptor import Score

__all__ = ["all_scores", "get_score", "register"]

_BUILT_IN = ("filters", "downsampling", "robustness", "flatness", "manifold")
_REGISTERED: dict[str, Score] = {}


def register(scores: Iterable[Score]) -> None:
    """Add scores to the register (third-party lenses call this through their entry point).

    Raises
    ------
    InputError
        Another score already has that name.
    """
    for score in scores:
        known = _REGISTERED.get(score.name)
        if known is not None and known != score:
            raise InputError(
                f"score {score.name!r} of lens {score.lens!r} is already registered by lens {known.lens!r}; "
                "give it another name"
            )
        _REGISTERED[score.name] = score


@cache
def _load_built_in() -> None:
    for lens in _BUILT_IN:
        register(import_module(f"filterlens.scores.{lens}").SCORES)


def all_scores() -> dict[str, Score]:
    """Every registered score by name, in the order of the lenses."""
    _load_built_in()
    return dict(_REGISTERED)


def get_score(name: str) -> Score:
    """Return one score's descriptor.

    Raises
    ------
    InputError
        There is no such score; the message lists near matches.
    """
    scores = all_scores()
    if name in scores:
        return scores[name]
    from difflib import get_close_matches

    near = get_close_matches(name, scores, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(scores)}"
    raise InputError(f"no score is called {name!r}; {hint}")
