"""The tidy score table: one row a model, metric and layer.

Columns: `model_id`, `lens`, `metric`, `layer` (empty for a score of the whole model), `kind` (the operation's
kind, as the lens names it), `conv_depth`, `conv_depth_norm` (NaN where there is none), `value` (NaN where the
score is not defined), `weight` (its share in the model's mean; 0 leaves it out), `note` (why there is no value,
or what to keep in mind).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from filterlens.errors import ReportError
from filterlens.files import whole_file

if TYPE_CHECKING:  # what only extracts does without its 60 MB
    import pandas as pd

__all__ = ["COLUMNS", "model_scores", "read_scores", "write_scores"]

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
_MANY_ROWS = 1_000_000
_SNAPPY = 21
_SMALL = 1 << 20
_THRIFT = 16 << 20
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


def write_scores(scores: pd.DataFrame, path: Path) -> None:
    """Write the table as parquet, whole or not at all.

    Raises
    ------
    WriteError
        The disk is full or the folder cannot be written.
    """
    with whole_file(path) as temporary:
        scores.to_parquet(temporary, index=False)


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
        df = _read_parquet(path)
    except Exception as error:
        raise ReportError(
            f"{path} cannot be read as a score table ({' '.join(str(error).split()):.200}); run `filterlens analyze` "
            "again"
        ) from error
    missing = [column for column in COLUMNS if column not in df.columns]
    if missing:
        raise ReportError(f"{path} lacks the columns {', '.join(missing)}; run `filterlens analyze` again")
    try:
        return _typed(df[list(COLUMNS)])
    except (ValueError, TypeError, OverflowError) as error:
        raise ReportError(f"{path} has a column of another type ({error}); run `filterlens analyze` again") from error


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read the columns of a score table, in memory in proportion to the file.

    Snappy unpacks to at most 21 times its input. Texts stay dictionaries until pandas shares one object a text, and
    rows beyond a million take a byte of the file each: a table of ours takes four.
    """
    import pyarrow as pa
    from pyarrow import parquet

    texts = [name for name, dtype in COLUMNS.items() if dtype == "str"]
    with parquet.ParquetFile(
        path, read_dictionary=texts, thrift_string_size_limit=_THRIFT, thrift_container_size_limit=_THRIFT
    ) as file:
        size, found = path.stat().st_size, file.metadata
        if found.num_rows > max(_MANY_ROWS, size) or found.num_columns > 10 * len(COLUMNS):
            raise ValueError(f"it declares {found.num_rows} rows and {found.num_columns} columns in {size} bytes")
        chunks = [found.row_group(i).column(j) for i in range(found.num_row_groups) for j in range(found.num_columns)]
        packed = {chunk.compression for chunk in chunks} - {"SNAPPY", "UNCOMPRESSED"}
        if packed:
            raise ValueError(f"it is packed by {', '.join(sorted(packed))}, score tables by Snappy")
        if sum(max(0, chunk.total_uncompressed_size) for chunk in chunks) > _SNAPPY * size + _SMALL:
            raise ValueError(f"it declares more than {_SNAPPY} times its {size} bytes")
        table = file.read(columns=[name for name in COLUMNS if name in file.schema_arrow.names], use_threads=False)
    for name in texts:
        if name in table.column_names and not _is_text(table.schema.field(name).type, pa):
            raise ValueError(f"column {name} holds no text")
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return frame


def _is_text(kind: Any, pa: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner))


def _typed(df: pd.DataFrame) -> pd.DataFrame:
    df = df.astype({name: ("object" if dtype == "str" else dtype) for name, dtype in COLUMNS.items()})
    texts = [name for name, dtype in COLUMNS.items() if dtype == "str"]
    return df.assign(**{name: df[name].where(df[name].notna(), "") for name in texts})
