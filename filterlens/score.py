"""What a score is, which scores there are, and the tidy table of their values. Imports no heavy library.

A score is declared where it is computed, by `@score(...)` on its function: the facts that tables, figures, `explain`,
monitors and docs show are read from the register that the decorator fills.

Columns of the table: `model_id`, `lens`, `metric`, `layer` (empty for a score of the whole model), `kind` (the
operation's kind, as the lens names it), `conv_depth`, `conv_depth_norm` (NaN where there is none), `value` (NaN where
the score is not defined), `weight` (its share in the model's mean; 0 leaves it out), `note` (why there is no value,
or what to keep in mind).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from filterlens.errors import InputError, ReportError
from filterlens.process.files import atomic_write
from filterlens.process.parquet import TableFile

if TYPE_CHECKING:  # what only extracts does without its 60 MB
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "COLUMNS",
    "DEPTH_GROUPS",
    "SCORES_FILE",
    "UNNORMALISED",
    "Score",
    "arrow_schema",
    "as_table",
    "declare",
    "depth_group",
    "model_scores",
    "read_scores",
    "registered_scores",
    "score",
    "write_scores",
]

Compute = TypeVar("Compute", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Score:
    """What a score is: read-only facts beside the arithmetic.

    Parameters
    ----------
    name
        Its `metric` in the score table, snake case.
    lens
        The lens that yields it.
    title
        Table heading and axis label, without unit.
    summary
        One sentence: what it measures.
    formula
        The exact definition in plain text, in the symbols of the paper.
    reference
        Citation key and section, e.g. `Gavrikov2022Lens §3`.
    bounds
        Lowest and highest possible value; None where unbounded.
    unit
        `%`, `nats`, …; empty for a pure number. A share in [0, 1] has unit `share`.
    higher_is_better
        Which way is known to go with robustness; None where it is not known.
    robust_is
        A paper's claim, tested as the expected sign of robust - normal: `higher`, `lower` or empty.
    claim
        That claim: citation key, section, and the sentence in our words; given with `robust_is`, and only then.
    chance
        Where random weights or a random guess would stand, in words; empty if there is no such level.
    pitfalls
        What misleads, in one or two sentences.
    auxiliary
        A companion (interval end, count, z-score) that tables of comparison leave out.
    by_depth
        Whether it is shown against the depth of the convolution.
    compute
        The function of the lens's record (a `Layer` of the filters lens, say) that gives the value; None where the
        lens is not installed here.
    weight
        Attribute of the record that weights a layer in the model's mean; empty weights every layer alike.
    applies
        Whether the score is defined for a record at all; None: always.
    """

    name: str
    lens: str
    title: str
    summary: str
    formula: str
    reference: str
    bounds: tuple[float | None, float | None] = (None, None)
    unit: str = ""
    higher_is_better: bool | None = None
    robust_is: str = ""
    claim: str = ""
    chance: str = ""
    pitfalls: str = ""
    auxiliary: bool = False
    by_depth: bool = False
    compute: Callable[..., float] | None = field(default=None, compare=False, repr=False)
    weight: str = ""
    applies: Callable[[Any], bool] | None = field(default=None, compare=False, repr=False)


_REGISTERED: dict[str, Score] = {}


def declare(facts: Score) -> None:
    """Put a score into the register.

    Raises
    ------
    InputError
        Another score already has that name, or one of `robust_is` and `claim` is given without the other.
    """
    if bool(facts.robust_is) != bool(facts.claim):
        raise InputError(
            f"score {facts.name!r} has {'robust_is' if facts.robust_is else 'claim'} alone; give robust_is='higher' or "
            "'lower' together with claim='KEY, section: what that paper says', or neither"
        )
    known = _REGISTERED.get(facts.name)
    if known is not None and known != facts:
        raise InputError(
            f"score {facts.name!r} of lens {facts.lens!r} is already registered by lens {known.lens!r}; "
            "give it another name"
        )
    _REGISTERED[facts.name] = facts


def score(
    *,
    lens: str,
    title: str,
    formula: str,
    reference: str,
    name: str = "",
    summary: str = "",
    **facts: Any,  # noqa: ANN401 - facts of a `Score`
) -> Callable[[Compute], Compute]:
    """Declare the function below as a score.

    Parameters
    ----------
    lens, title, formula, reference
        See `Score`, as for every other fact.
    name
        The function's own where empty.
    summary
        The first line of the function's docstring where empty.

    Returns
    -------
        A decorator that returns the function as it is. The function takes the lens's record of one layer or model.

    Raises
    ------
    InputError
        Another score already has that name.
    """

    def register(function: Compute) -> Compute:
        said = summary or (function.__doc__ or "").strip().splitlines()[0]
        own = name or function.__name__
        declare(Score(own, lens, title, said, formula, reference, compute=function, **facts))
        return function

    return register


def registered_scores() -> tuple[Score, ...]:
    """Every score declared so far, in the order of declaration; `filterlens.lens.all_scores` loads the lenses first."""
    return tuple(_REGISTERED.values())


COLUMNS: dict[str, str] = {
    "model_id": "str",
    "lens": "str",
    "metric": "str",
    "layer": "str",
    "kind": "str",
    "conv_depth": "float64",
    "conv_depth_norm": "float64",
    "value": "float64",
    "weight": "float64",
    "note": "str",
}
#: the note of a network that does not normalise its input, run without a mean and a standard deviation
UNNORMALISED = "run without normalisation"
_EXCEPTION_NAMES = re.compile(r"\b\w*(?:Error|Exception): ")  # of a library's own errors, which texts of pyarrow quote
_TEXTS = [name for name, dtype in COLUMNS.items() if dtype == "str"]
#: what a file of scores holds
SCORES_FILE = TableFile(tuple(COLUMNS), tuple(_TEXTS))
_DEFAULTS = {
    "layer": "",
    "kind": "",
    "conv_depth": np.nan,
    "conv_depth_norm": np.nan,
    "weight": 1.0,
    "note": "",
}


def as_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Turn dictionaries into a score table with every column, in order and of the right type."""
    import pandas as pd

    df = pd.DataFrame(rows, columns=list(COLUMNS))
    for column, default in _DEFAULTS.items():
        df[column] = df[column].where(df[column].notna(), default)
    return _typed(df)


def model_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Weighted mean of every metric over a model's rows: one row a model, one column a metric.

    Rows without a value or with weight 0 do not take part; a metric without any row that does is NaN.

    Examples
    --------
    >>> rows = [{"model_id": "a", "metric": "sparsity", "layer": n, "value": v, "weight": w}
    ...         for n, v, w in [("c1", 0.0, 1.0), ("c2", 1.0, 3.0)]]
    >>> model_scores(as_table(rows)).loc["a", "sparsity"].item()
    0.75
    """
    import pandas as pd

    usable = scores[scores["value"].notna() & (scores["weight"] > 0)]
    product = (usable["value"] * usable["weight"]).rename("product")
    sums = usable[["model_id", "metric", "weight"]].join(product).groupby(["model_id", "metric"], sort=False).sum()
    means = (sums["product"] / sums["weight"]).unstack("metric")  # noqa: PD010 - a pivot of unique keys
    order = list(dict.fromkeys(scores["model_id"]))
    columns = list(dict.fromkeys(scores["metric"]))
    return means.reindex(index=pd.Index(order, name="model_id"), columns=columns)


def arrow_schema(metadata: Mapping[bytes, str] | None = None) -> pa.Schema:
    """Return the columns of a file of scores, with what its header says besides."""
    import pyarrow as pa

    types = [(name, pa.string() if kind == "str" else pa.float64()) for name, kind in COLUMNS.items()]
    return pa.schema(types, metadata=metadata)


def write_scores(scores: pd.DataFrame, path: Path) -> None:
    """Write the table as parquet, whole or not at all.

    Raises
    ------
    WriteError
        The disk is full or the folder cannot be written.
    """
    with atomic_write(path) as temporary:
        scores.to_parquet(temporary, index=False)
    SCORES_FILE.trust(path)


def read_scores(path: Path) -> pd.DataFrame:
    """Read a score table.

    Raises
    ------
    ReportError
        The file is missing, unreadable or lacks columns.
    """
    if not path.is_file():
        raise ReportError(f"{path} is missing: run `filterlens analyze {path.parent}` first")

    try:
        df: pd.DataFrame = SCORES_FILE.read(path).to_pandas(ignore_metadata=True)
    except Exception as error:
        said = _EXCEPTION_NAMES.sub("", " ".join(str(error).split()))
        raise ReportError(
            f"{path} cannot be read as a score table ({said:.200}); run `filterlens analyze` again"
        ) from error
    missing = [column for column in COLUMNS if column not in df.columns]
    if missing:
        raise ReportError(f"{path} lacks the columns {', '.join(missing)}; run `filterlens analyze` again")
    try:
        return _typed(df[list(COLUMNS)])
    except (ValueError, TypeError, OverflowError) as error:
        raise ReportError(f"{path} has a column of another type ({error}); run `filterlens analyze` again") from error


def _typed(df: pd.DataFrame) -> pd.DataFrame:
    df = df.astype({name: ("object" if dtype == "str" else dtype) for name, dtype in COLUMNS.items()})
    return df.assign(**{name: df[name].where(df[name].notna(), "") for name in _TEXTS})


DEPTH_GROUPS: tuple[str, ...] = ("0", *(f"({i / 10:.1f}, {(i + 1) / 10:.1f}]" for i in range(10)))


def depth_group(conv_depth: ArrayLike, conv_depth_norm: ArrayLike) -> NDArray[np.int64]:
    """Place of each layer in `DEPTH_GROUPS`: 0 for the first convolution, 1 … 10 for (0, 0.1] … (0.9, 1].

    Parameters
    ----------
    conv_depth, conv_depth_norm
        Shape (n,): place in execution order and that divided by the last place; NaN where unknown.

    Returns
    -------
        Shape (n,), int64; -1 where the depth is unknown.

    Examples
    --------
    >>> depth_group([0, 1, 10, np.nan], [0.0, 0.1, 1.0, np.nan]).tolist()
    [0, 1, 10, -1]
    """
    depth, norm = np.asarray(conv_depth, dtype=np.float64), np.asarray(conv_depth_norm, dtype=np.float64)
    decile = np.ceil(10 * norm - 1e-9)  # 3/10 is the end of (0.2, 0.3] whichever way it is rounded
    group = np.where(depth == 0, 0.0, np.clip(decile, 1, 10))
    return np.where(np.isfinite(group) & np.isfinite(depth), group, -1.0).astype(np.int64)
