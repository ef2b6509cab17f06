"""What a user may turn: of one lens, and of a whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from filterlens.errors import InputError

__all__ = ["Dumps", "Options", "RunSettings", "option", "option_names", "with_options"]

Dumps = Literal["all", "none"]
"""Whether lenses store the weights that they look at."""


def option(
    *,
    default: Any,  # noqa: ANN401 - a field of any type
    help: str,  # noqa: A002
    parse: str = "",
    names_file: bool = False,
    names_folder: bool = False,
    names_data: bool = False,
    at_least: float | None = None,
) -> Any:  # noqa: ANN401
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
    names_folder
        The value is a folder's path: its own files decide, and the names of what lies in folders below it.
    names_data
        The value names images as `--data` does: these decide.
    at_least
        The smallest number that is taken.
    """
    names = {"names_file": names_file, "names_folder": names_folder, "names_data": names_data}
    return field(default=default, metadata={"help": help, "parse": parse, "at_least": at_least} | names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may turn of a lens, its defaults the paper's. All of it decides whether a dump is still good.

    Parameters
    ----------
    preset
        `paper`, or `fast`: fewer images, steps and restarts, named so in every output.
    """

    preset: Literal["paper", "fast"] = "paper"

    def __post_init__(self) -> None:
        """Refuse numbers smaller than their options take. A lens with its own `__post_init__` calls this one."""
        for known in fields(self):
            least, value = known.metadata.get("at_least"), getattr(self, known.name)
            if least is not None and value is not None and value < least:
                raise InputError(f"{known.name}: expected at least {least:g}, got {value}")

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
    dumps
        `all`, or `none`: lenses that would store a model's weights are scored where it is loaded, and what the report
        shows is all that is kept of them.
    """

    seed: int = 0
    device: str = "cpu"
    batch_size: int = 64
    data: str = ""
    fonts: Path | None = None
    trust_pickle: bool = False
    allow_code: bool = False
    offline: bool = False
    dumps: Dumps = "all"

    def __post_init__(self) -> None:
        """Refuse what no run can work with."""
        if self.batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, got {self.batch_size}")
        if self.dumps not in get_args(Dumps):
            raise InputError(f"dumps: expected all or none, got {self.dumps!r}")

    def for_images(self) -> dict[str, object]:
        """Return what concerns a lens that looks at images, as plain values."""
        return {"seed": self.seed, "data": self.data, "fonts": None if self.fonts is None else str(self.fonts)}


Own = TypeVar("Own", bound=Options)


def option_names(options: Options | type[Options | RunSettings]) -> tuple[str, ...]:
    """Names of a lens's options, or of the run's settings."""
    return tuple(found.name for found in fields(options))


def with_options(options: Own, given: Mapping[str, Any]) -> Own:
    """Return options with those of `given` that the lens has in their place.

    Raises
    ------
    InputError
        A number is smaller than the option takes.
    """
    own = option_names(options)
    return replace(options, **{name: value for name, value in given.items() if name in own})
