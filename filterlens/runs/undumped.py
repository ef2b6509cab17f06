"""Lenses whose arrays are not stored (`--dumps none`): scored where the model is loaded, read again to be pooled."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from filterlens.catalogs import Entry
from filterlens.dumps import DumpGroup, DumpReader, DumpWriter, InMemoryGroup, open_lens, read_stored
from filterlens.errors import DumpError, FilterlensError
from filterlens.lens import ExtractContext, Lens, OpenGroup, Options, RunSettings, get_lens
from filterlens.runs.config import filled
from filterlens.runs.kept import keep_scores
from filterlens.runs.scoring import one_thread, score_group

if TYPE_CHECKING:
    from filterlens.loaders.model import LoadedModel

__all__ = ["Reread", "open_group", "store_scores", "stores_nothing"]


def stores_nothing(lens: Lens, settings: RunSettings) -> bool:
    """Whether a lens is scored where the model is loaded, without a dump of its arrays."""
    return settings.dumps == "none" and bool(lens.keep) and not lens.needs_images


def store_scores(
    dump: DumpWriter,
    lens: Lens,
    parameters: Mapping[str, object],
    *,
    group: InMemoryGroup,
    model: LoadedModel,
    folder: Path,
) -> None:
    """Score what a lens has extracted, and write scores and what figures show in place of the arrays.

    Parameters
    ----------
    dump
        Open for writing.
    lens
        One that can do without.
    parameters
        How it looked at the model.
    group
        What it has extracted.
    model
        Where from.
    folder
        The catalog's.
    """
    with one_thread():
        table, summary = score_group(lens, group, model.model_id)
    kept = keep_scores(
        dump,
        lens,
        table,
        summary=summary,
        parameters=parameters,
        sha256=_digest(model),
        folder=str(folder.resolve()),
    )
    resolve_name(lens.keep)(group, kept)


def _digest(model: LoadedModel) -> str:
    from filterlens.loaders.examine import examine_weights

    return model.sha256 or examine_weights(model.weights).digest


def open_group(entry: Entry, path: Path, lens: str, settings: RunSettings) -> OpenGroup:
    """Return what opens a lens's part of a dump, in any process; its checkpoint is read again where it is not there.

    Parameters
    ----------
    entry, path
        The model's row, and its dump.
    lens
        Its name.
    settings
        Whether a checkpoint that is read again may be fetched, or run code.
    """
    try:
        with DumpReader(path) as dump:
            if lens in dump.lenses or lens not in dump.scored:
                return partial(open_lens, path, lens)
            stored, parameters = read_stored(dump, lens), dump.kept(lens).parameters
    except DumpError:
        return partial(open_lens, path, lens)  # which says so
    given = parameters.get("options")
    options = filled(get_lens(lens).options(), given if isinstance(given, dict) else {}, path, f"lenses.{lens}")
    return Reread(entry, path, lens, options, settings, Path(stored.folder), stored.sha256)


@dataclass(frozen=True, slots=True)
class Reread:
    """Extracts a lens from its checkpoint again, in memory; small and picklable.

    Parameters
    ----------
    entry, path
        The model's row, and its dump.
    lens, options
        The lens's name, and its options as they were.
    settings
        The run's.
    folder
        The catalog's.
    sha256
        What the checkpoint must be.
    """

    entry: Entry
    path: Path
    lens: str
    options: Options
    settings: RunSettings
    folder: Path
    sha256: str

    @contextmanager
    def __call__(self) -> Iterator[DumpGroup]:
        """Open the arrays.

        Raises
        ------
        DumpError
            The checkpoint is not there, or is another one.
        """
        from filterlens.loaders import load_model

        with warnings.catch_warnings():
            try:
                model = load_model(
                    self.entry,
                    self.folder,
                    trust_pickle=self.settings.trust_pickle,
                    allow_code=self.settings.allow_code,
                    offline=self.settings.offline,
                )
                found = _digest(model)
            except FilterlensError as error:
                raise DumpError(
                    f"its weights are not stored (--dumps none), and cannot be read from its checkpoint again: {error}"
                ) from error
            if found != self.sha256:
                raise DumpError(
                    f"its checkpoint is not the one that was scored (SHA-256 {found:.16}…, not {self.sha256:.16}…), "
                    "and its weights are not stored (--dumps none): run the same `filterlens audit` again"
                )
            group = InMemoryGroup(self.path, {})
            resolve_name(get_lens(self.lens).extract)(
                ExtractContext(
                    model=model,
                    entry=self.entry,
                    images=None,
                    options=self.options,
                    settings=self.settings,
                    group=group,
                    progress=lambda *_: None,
                )
            )
        yield group
