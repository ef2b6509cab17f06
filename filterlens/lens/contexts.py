"""What a lens's functions get: one model to be extracted, or the models of a run to be looked at together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from filterlens.lens.options import Options, RunSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from filterlens.catalogs import Entry
    from filterlens.dumps import DumpGroup, WritableGroup
    from filterlens.inputs import Images
    from filterlens.loaders.model import LoadedModel

__all__ = ["Each", "ExtractContext", "OpenGroup", "PoolContext", "PooledModel"]

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


OpenGroup = Callable[[], AbstractContextManager["DumpGroup"]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledModel:
    """One model of a run, as a lens's `pool` gets it.

    Parameters
    ----------
    entry
        Its catalog row.
    group
        Opens the lens's part of its dump, in any process; where the weights were not stored, it reads them again from
        the checkpoint.
    summary
        What `analyze` has returned of it.
    """

    entry: Entry
    group: OpenGroup
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
