"""Keys of dumps: digests of everything that decides their numbers, whatever it is called and wherever it lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from filterlens.catalogs import Entry
from filterlens.dumps import SCHEMA
from filterlens.errors import FilterlensError
from filterlens.inputs import data_digest
from filterlens.lens import Lens, Options, RunSettings
from filterlens.loaders import code_digest, source_digest
from filterlens.process.digests import combined_digest, file_digest

__all__ = ["Key", "Keys"]

_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Key:
    """What decides the numbers of one lens of one model.

    Parameters
    ----------
    model
        Digest of weights, code, normalisation and radius.
    settings
        Digest of the lens's options, the seed and the images.
    content
        Digests of what settings name: `data`, and options that name a file.
    notes
        What cannot be known, for the ledger.
    """

    model: str
    settings: str
    content: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the key as the ledger has it."""
        return f"{self.model}-{self.settings}"

    def is_of(self, row_key: str, *, same_settings: bool = True) -> bool:
        """Whether a row of the ledger is of this model, looked at under these settings or under any."""
        return row_key == str(self) or (not same_settings and row_key.partition("-")[0] == self.model)


class Keys:
    """The keys of one run; what several jobs share is digested once.

    Parameters
    ----------
    folder
        The catalog's folder.
    settings
        The run's.
    """

    def __init__(self, folder: Path, settings: RunSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._data: dict[tuple[str, str], str] = {}
        self._sources: dict[str, tuple[str, tuple[str, ...]]] = {}

    def key(self, entry: Entry, lens: Lens, options: Options) -> Key:
        """Return the key of one lens of one model."""
        if entry.source not in self._sources:
            found = source_digest(entry.source, self._folder, allow_code=self._settings.allow_code)
            self._sources[entry.source] = found
        source, notes = self._sources[entry.source]
        values = options.plain()
        content: dict[str, str] = {}
        for known in fields(options):
            value = str(values[known.name])
            if known.metadata.get("names_file"):
                content[known.name], more = _content_of(value)
                notes += more
            elif known.metadata.get("names_folder"):
                content[known.name], more = _content_of_folder(value)
                notes += more
            elif known.metadata.get("names_data") and value:
                content[known.name] = self._digest_of(value, entry.dataset) or value
        settings: dict[str, object] = {"options": values | content, "schema": SCHEMA}
        if lens.needs_images:
            content["data"] = self.data(entry.dataset)
            settings |= {"seed": self._settings.seed, "data": content["data"]}
        model = {"source": source, "eps": entry.eps, "normalisation": [entry.mean, entry.std]}
        return Key(_digest(model), _digest(settings), content, notes)

    def data(self, dataset: str) -> str:
        """Digest of the images for models of a data set; empty where there are none, or none that can be read."""
        return self._digest_of(self._settings.data or dataset, dataset)

    def _digest_of(self, data: str, dataset: str) -> str:
        if (data, dataset) not in self._data:
            try:
                found = data and data_digest(data, dataset=dataset, fonts=self._settings.fonts)
            except FilterlensError:  # each job says so
                found = ""
            self._data[data, dataset] = found
        return self._data[data, dataset]


def _content_of(value: str) -> tuple[str, tuple[str, ...]]:
    """Digest what an option names: code, a file, or something that is built in and stands for itself."""
    if value.startswith("module:"):
        return code_digest(value.removeprefix("module:"), Path.cwd())
    try:
        return f"file:{file_digest(Path(value))}", ()
    except (OSError, ValueError):
        return value, ()


def _content_of_folder(value: str) -> tuple[str, tuple[str, ...]]:
    """Digest a folder's own files; of folders in it, which may hold millions of images, the names only."""
    folder = Path(value)
    try:
        entries = sorted(folder.iterdir()) if value else []
        digest = combined_digest((entry.name, file_digest(entry) if entry.is_file() else "") for entry in entries)
    except (OSError, ValueError):
        return value, ()
    notes = (f"{folder}: what its subfolders hold is not part of the key",) if any(e.is_dir() for e in entries) else ()
    return f"folder:{digest}", notes


def _digest(values: Mapping[str, Any]) -> str:
    return combined_digest([("", json.dumps(values, sort_keys=True, default=str))])[:_LENGTH]
