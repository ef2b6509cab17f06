"""The register of lenses and of their scores: built-in ones and those of installed packages alike.

A lens is one way of looking at a model, and one folder: what it takes from the model (`extractor.py`), what it
computes from that (`analyzer.py` and a file for each score), what it shows (`figures`, `tables.py`) and what a user
may turn (`options.py`). Its `LENS` names its functions by path, so that listing lenses imports no heavy library.
Third parties add a lens through the entry point group `filterlens.lenses`, and scores of a lens that exists through
`filterlens.scores`, which names the module that declares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeVar

from filterlens.errors import InputError
from filterlens.score import Score, registered_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from filterlens.catalogs import Entry
    from filterlens.dumps import WritableGroup
    from filterlens.inputs import Images
    from filterlens.loaders.model import LoadedModel

__all__ = [
    "Each",
    "ExtractContext",
    "Lens",
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
    "with_options",
]


def option(*, default: Any, help: str, parse: str = "", names_file: bool = False) -> Any:  # noqa: A002, ANN401 - a field of any type
    """Make a field of `Options` that is an option of the command line too.

    Parameters
    ----------
    default
        The paper's value.
    help
        One sentence for `--help`.
    parse
        `module:function` from the text on the command line to the value, where the field's type does not tell.
    names_file
        The value is the path of a file, or `module:` code: what it holds decides whether a dump is still good, not
        its name.
    """
    return field(default=default, metadata={"help": help, "parse": parse, "names_file": names_file})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may turn of a lens, its defaults the paper's. All of it decides whether a dump is still good.

    Parameters
    ----------
    preset
        `paper`, or `fast`: fewer images, steps and restarts, named so in every output.
    """

    preset: Literal["paper", "fast"] = "paper"

    @classmethod
    def paper(cls) -> Self:
        """Return the paper's settings."""
        return cls()

    @classmethod
    def fast(cls) -> Self:
        """Return fewer steps than the paper's, where the lens has any."""
        return cls()

    @property
    def is_fast(self) -> bool:
        """Whether these are the fast settings."""
        return self.preset == "fast"

    def plain(self) -> dict[str, Any]:
        """Return every option as a plain value, for the dump and for the key that says whether a dump is good."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a whole run shares, whatever its lenses.

    Parameters
    ----------
    seed
        Random seed.
    device
        `cpu`, `cuda`, `cuda:1`, …
    batch_size
        Images in one forward pass.
    data
        Where images come from: `fonts`, `cifar10`, a `.npz`, a folder, …; empty is the catalog's data set.
    fonts
        Folder of `.ttf` files instead of matplotlib's fonts.
    trust_pickle
        Let a checkpoint run code when it is loaded.
    allow_code
        Let `module:` rows of a catalog run the code that they name.
    offline
        Fetch nothing; what is cached loads.
    """

    seed: int = 0
    device: str = "cpu"
    batch_size: int = 64
    data: str = ""
    fonts: Path | None = None
    trust_pickle: bool = False
    allow_code: bool = False
    offline: bool = False

    def __post_init__(self) -> None:
        """Refuse what no run can work with."""
        if self.batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, got {self.batch_size}")

    def for_images(self) -> dict[str, object]:
        """Return what concerns a lens that looks at images, as plain values."""
        return {"seed": self.seed, "data": self.data, "fonts": None if self.fonts is None else str(self.fonts)}


Own = TypeVar("Own", bound=Options)
O_co = TypeVar("O_co", bound=Options, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExtractContext(Generic[O_co]):
    """Everything that an extractor gets.

    Parameters
    ----------
    model
        The loaded model.
    entry
        Its catalog row.
    images
        As many labelled images as `options.images` asks for, at most; None where the lens needs none.
    options
        The lens's own.
    settings
        The run's: seed, device, batch size.
    group
        To be filled with plain arrays and attributes.
    progress
        Called with how much is done and how much there is in all.
    """

    model: LoadedModel
    entry: Entry
    images: Images | None
    options: O_co
    settings: RunSettings
    group: WritableGroup
    progress: Callable[[int, int], None]


Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """As `map` of one iterable: calls a function of one argument for each item, and yields the results in order.

    A run's own calls it in the run's processes: function and items are picklable, the function by its name.
    """

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterable[Result]:
        """Call the function for each item."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledModel:
    """One model of a run, as a lens's `pool` gets it.

    Parameters
    ----------
    entry
        Its catalog row.
    path
        Its dump, which holds the lens.
    summary
        What `analyze` has returned of it.
    """

    entry: Entry
    path: Path
    summary: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolContext:
    """Everything that a lens's `pool` gets.

    Parameters
    ----------
    models
        The run's models, each set of weights once.
    group
        The lens's part of `pooled.h5`, to be filled.
    each
        Calls a function for every model, in as many processes as the analysis has.
    """

    models: Sequence[PooledModel]
    group: WritableGroup
    each: Each


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
    scores
        Modules that declare its scores; they load no heavy library.
    pool
        Over a whole run, or empty: called with a `PoolContext`. It raises `LensSkipped` where there is nothing to say.
    figures, tables
        Lists of the report's `Figure` and of functions (run, models) → `Table`; empty: none of its own.
    measure
        Scores of a network in memory, or empty: called as `measure(network, images)`; yields as `analyze` does. It is
        what monitors and `filterlens.measure` call.
    attack_free
        Whether its scores need no attack, so that they may predict robust accuracy.
    rank
        Place in lists and reports; lower first.
    """

    name: str
    title: str = ""
    summary: str = ""
    options: type[Options] = Options
    extract: str
    analyze: str
    scores: tuple[str, ...] = ()
    pool: str = ""
    figures: str = ""
    tables: str = ""
    measure: str = ""
    attack_free: bool = False
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


def option_names(options: Options | type[Options | RunSettings]) -> tuple[str, ...]:
    """Names of a lens's options, or of the run's settings."""
    return tuple(found.name for found in fields(options))


def options_of(lens: Lens, given: Mapping[str, Any], *, fast: bool = False) -> Options:
    """Return a lens's options: the paper's or the fast ones, with those of `given` that it has in their place."""
    base = lens.options.fast() if fast else lens.options.paper()
    return with_options(base, given)


def with_options(options: Own, given: Mapping[str, Any]) -> Own:
    """Return options with those of `given` that the lens has in their place."""
    own = option_names(options)
    return replace(options, **{name: value for name, value in given.items() if name in own})


def all_scores() -> dict[str, Score]:
    """Every score by name, in the order of the lenses and of their modules."""
    lenses = list(all_lenses().values())
    places = {module: place for place, module in enumerate(module for lens in lenses for module in lens.scores)}
    order = {lens.name: place for place, lens in enumerate(lenses)}

    def rank(found: Score) -> tuple[int, int]:
        module = getattr(found.compute, "__module__", "")
        return order.get(found.lens, len(order)), places.get(module, len(places))

    return {found.name: found for found in sorted(registered_scores(), key=rank)}


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


def score_rows(lens: str, record: object) -> Iterator[dict[str, object]]:
    """Compute every score of a lens that is defined for a record: `metric`, `value` and `weight` of each.

    Parameters
    ----------
    lens
        Its name.
    record
        What the lens computes its scores from, one layer or one model at a time.
    """
    for found in all_scores().values():
        if found.lens == lens and found.compute is not None and (found.applies is None or found.applies(record)):
            value = float(found.compute(record))
            weight = float(getattr(record, found.weight)) if found.weight else 1.0
            yield {
                "metric": found.name,
                "value": value,
                "weight": 0.0 if math.isnan(value) and found.weight else weight,
            }
