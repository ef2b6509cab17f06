"""The lenses that there are, and their scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import Any

from filterlens.dumps.layout import SCORED
from filterlens.errors import InputError
from filterlens.lens.options import Options, RunSettings, with_options
from filterlens.score import Score, registered_scores

__all__ = ["Lens", "all_lenses", "all_scores", "get_lens", "get_score", "options_of", "score_rows", "scores_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """One paper's way of looking at a model. Functions are named as `module:name` and imported when they are called.

    Parameters
    ----------
    name
        Its HDF5 group, its `--lens` value, its `lens` in the score table.
    title
        Heading of its part of a report; the name where empty.
    summary
        What it looks at, in one sentence.
    options
        Its class of options.
    extract
        Called with an `ExtractContext`. It raises `LensSkipped` where the lens does not apply.
    analyze
        Called as `analyze(group)` with a `DumpGroup`; returns dictionaries with the columns of the score table less
        `model_id` and `lens`. That of a lens with a `pool` returns them and a summary of the model: arrays by name.
    analyze_together
        Of a lens that scores many small models faster at once than one by one, or empty: called with a list of
        `DumpGroup`s, it returns the rows of each as `analyze` does.
    scores
        Modules that declare its scores; they load no heavy library.
    keep
        Of a lens that needs weights only and stores them, or empty: called as `keep(group, kept)` where a run stores no
        weights (`--dumps none`), it writes into the `WritableGroup` `kept` what figures read of the `DumpGroup`.
    pool
        Over a whole run, or empty: called with a `PoolContext`. It raises `LensSkipped` where there is nothing to say.
    figures, tables
        Lists of the report's `Figure` and of functions (run, models) → `Table`; empty: none of its own.
    measure
        Scores of a network in memory, or empty: called as `measure(network, images)`; yields as `analyze` does. It is
        what monitors and `filterlens.measure` call.
    attack_free
        Whether its scores need no attack, so that they may predict robust accuracy.
    per_kernel
        Whether its rows are of filters and have their size (`3x3`) as `kind`: reports then keep sizes apart.
    preload
        Modules that the process imports from which workers are forked that analyse dumps with this lens: they share
        what is loaded. Importing one starts no thread and computes nothing with torch.
    rank
        Place in lists and reports; lower first.
    """

    name: str
    title: str = ""
    summary: str = ""
    options: type[Options] = Options
    extract: str
    analyze: str
    analyze_together: str = ""
    scores: tuple[str, ...] = ()
    keep: str = ""
    pool: str = ""
    figures: str = ""
    tables: str = ""
    measure: str = ""
    attack_free: bool = False
    per_kernel: bool = False
    preload: tuple[str, ...] = ()
    rank: int = 100

    @property
    def needs_images(self) -> bool:
        """Whether it looks at images at all: whether its options say how many."""
        return any(found.name == "images" for found in fields(self.options))

    def parameters(self, options: Options, settings: RunSettings) -> dict[str, object]:
        """Return how it looks at a model, as plain values for its dumps."""
        return {"options": options.plain()} | (settings.for_images() if self.needs_images else {})


@cache
def all_lenses() -> dict[str, Lens]:
    """Every lens by name, by rank: the built-in ones and those of installed packages, their scores declared.

    Raises
    ------
    InputError
        Two lenses share a name, a package's entry point is no `Lens`, or two scores share a name.
    """
    package = import_module("filterlens.lenses")
    folders = [name for _, name, is_folder in iter_modules(package.__path__) if is_folder]
    points = [EntryPoint(name, f"filterlens.lenses.{name}:LENS", "filterlens.lenses") for name in folders]
    lenses: dict[str, Lens] = {}
    for point in [*points, *entry_points(group="filterlens.lenses")]:
        lens = _load(point, "lens")
        if not isinstance(lens, Lens):
            raise InputError(f"the entry point {point.name!r} of {point.value} is no filterlens.Lens")
        if lens.name == SCORED:
            raise InputError(f"no lens may be called {SCORED!r}, which means something else in dumps: {point.value} is")
        if lens.name in lenses:
            raise InputError(f"two lenses are called {lens.name!r}: the second comes from {point.value}")
        lenses[lens.name] = lens
    ordered = sorted(lenses.values(), key=lambda lens: lens.rank)
    for lens in ordered:
        for module in lens.scores:
            import_module(module)
    for point in entry_points(group="filterlens.scores"):
        _load(point, "scores")
    return {lens.name: lens for lens in ordered}


def _load(point: EntryPoint, what: str) -> object:
    try:
        return point.load()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the {what} {point.name!r} of {point.value} cannot be imported ({error})") from error


def get_lens(name: str) -> Lens:
    """Return a lens by name.

    Raises
    ------
    InputError
        There is none of that name.
    """
    lenses = all_lenses()
    if name not in lenses:
        raise InputError(f"no lens is called {name!r}; there are {', '.join(lenses)}")
    return lenses[name]


def options_of(lens: Lens, given: Mapping[str, Any], *, fast: bool = False) -> Options:
    """Return a lens's options: the paper's or the fast ones, with those of `given` that it has in their place."""
    base = lens.options.fast() if fast else lens.options.paper()
    return with_options(base, given)


def all_scores() -> dict[str, Score]:
    """Every score by name, in the order of the lenses and of their modules."""
    lenses = list(all_lenses().values())
    places = {module: place for place, module in enumerate(module for lens in lenses for module in lens.scores)}
    order = {lens.name: place for place, lens in enumerate(lenses)}

    def rank(found: Score) -> tuple[int, int]:
        module = getattr(found.compute, "__module__", "")
        return order.get(found.lens, len(order)), places.get(module, len(places))

    return {found.name: found for found in sorted(registered_scores(), key=rank)}


def scores_of(lens: str) -> tuple[Score, ...]:
    """Every score of a lens, in order."""
    return tuple(found for found in all_scores().values() if found.lens == lens)


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
    near = get_close_matches(name, scores, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(scores)}"
    raise InputError(f"no score is called {name!r}; {hint}")


def score_rows(lens: str | Sequence[Score], record: object) -> Iterator[dict[str, object]]:
    """Compute every score of a lens that is defined for a record: `metric`, `value` and `weight` of each.

    Parameters
    ----------
    lens
        Its name, or its scores (`scores_of`), where there are many records.
    record
        What the lens computes its scores from, one layer or one model at a time.
    """
    for found in scores_of(lens) if isinstance(lens, str) else lens:
        if found.compute is not None and (found.applies is None or found.applies(record)):
            value = float(found.compute(record))
            weight = float(getattr(record, found.weight)) if found.weight else 1.0
            yield {
                "metric": found.name,
                "value": value,
                "weight": 0.0 if math.isnan(value) and found.weight else weight,
            }
