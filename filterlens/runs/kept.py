"""Scores that a dump keeps in place of a lens's arrays (`--dumps none`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from filterlens.dumps import DumpReader, DumpWriter, StoredScores, WritableGroup, read_stored, write_stored
from filterlens.errors import DumpError, ReportError
from filterlens.lens import Lens, all_lenses, all_scores, get_lens
from filterlens.runs.parts import list_parts, part_facts, read_part_keys
from filterlens.score import COLUMNS, as_table
from filterlens.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["held_in_parts", "is_fresh", "keep_scores", "kept_scores", "made_by"]

_PLACE: Final = ("model_id", "lens")  # columns that the dump's place tells


def keep_scores(
    dump: DumpWriter,
    lens: Lens,
    table: pd.DataFrame,
    *,
    summary: Mapping[str, NDArray[np.float64]] | None,
    parameters: Mapping[str, object],
    sha256: str,
    folder: str,
) -> WritableGroup:
    """Write a lens's scores of one model in place of its arrays.

    Parameters
    ----------
    dump
        Open for writing.
    lens
        Whose.
    table, summary
        As `filterlens.runs.scoring.score_group` returns them.
    parameters
        How the lens looked at the model.
    sha256, folder
        As `StoredScores` has them.

    Returns
    -------
        Where the arrays are kept that figures read.
    """
    columns = {
        name: [str(text) for text in table[name]] if kind == "str" else table[name].to_numpy()
        for name, kind in COLUMNS.items()
        if name not in _PLACE
    }
    return write_stored(
        dump, lens.name, parameters, StoredScores(columns, summary or {}, made_by(lens), sha256, folder)
    )


def kept_scores(
    dump: DumpReader, lens: Lens, model_id: str
) -> tuple[pd.DataFrame, Mapping[str, NDArray[np.float64]] | None]:
    """Return what `filterlens.runs.scoring.score_group` has found where the model was loaded.

    Raises
    ------
    DumpError
        The dump is damaged, or its scores are not those of this version.
    """
    import pandas as pd

    stored = read_stored(dump, lens.name)
    if stored.made_by != made_by(lens):
        raise DumpError(
            f"{dump.path} holds scores made by {stored.made_by:.40} and no arrays to score anew (--dumps none): "
            "run the same `filterlens audit` or `extract` again"
        )
    if set(stored.table) != set(COLUMNS) - set(_PLACE):
        raise DumpError(f"{dump.path}: the scores that it keeps are damaged; extract again")
    frame = pd.DataFrame(dict(stored.table)).assign(model_id=model_id, lens=lens.name)
    rows = [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]
    return as_table(rows), stored.summary if lens.pool else None


def is_fresh(dump: DumpReader, name: str) -> bool:
    """Whether the scores that a dump holds of a lens are those of this version."""
    try:
        return read_stored(dump, name).made_by == made_by(get_lens(name))
    except DumpError:
        return False


def held_in_parts(folder: Path, say: Callable[[str], None]) -> dict[str, dict[str, str]]:
    """Lenses, by model, whose scores lie in a run's parts and are those of this version; their rows are in the ledger.

    Parameters
    ----------
    folder
        The run's.
    say
        Told of a part that is damaged: it holds none, and its models are done again.
    """
    held: dict[str, dict[str, str]] = {}
    lenses = all_lenses()
    for number in list_parts(folder):
        try:
            made = part_facts(folder, number).get("made_by")
            rows = read_part_keys(folder, number)
        except ReportError as error:
            say(str(error))
            continue
        fresh = {name for name, text in (made or {}).items() if name in lenses and text == made_by(lenses[name])}
        for model_id, lens, status, *_ in rows:
            own = held.setdefault(model_id, {})
            own.pop(lens, None)
            if status == "ok" and lens in fresh:
                own[lens] = ""
    return held


def made_by(lens: Lens) -> str:
    """Name the version and the scores by which a lens's kept scores are told to be of today."""
    names = [found.name for found in all_scores().values() if found.lens == lens.name]
    return f"filterlens {__version__} ({', '.join(names)})"
