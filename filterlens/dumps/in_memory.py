"""A lens's part of a dump that is never written: arrays as its extractor gave them, for its analyzer to read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps.layout import NUMBERS
from filterlens.dumps.reading import DumpGroup, plain
from filterlens.dumps.writing import Attribute, WritableGroup
from filterlens.errors import DumpError

__all__ = ["InMemoryGroup"]


class InMemoryGroup(DumpGroup, WritableGroup):
    """What an extractor fills and an analyzer reads, without a file in between.

    Arrays are kept as they come: those of a mapped checkpoint take no memory of their own.

    Parameters
    ----------
    path
        Of the dump that it would be in, for messages.
    parameters
        As `DumpWriter.lens` takes them.
    """

    def __init__(self, path: Path, parameters: Mapping[str, object]) -> None:
        self.path = path
        self.current = ""
        self._own: dict[str, Any] = {"parameters": json.dumps(parameters, sort_keys=True, default=str)}
        self._arrays: dict[str, NDArray[Any]] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def set_attributes(self, **attributes: Attribute) -> None:
        """Store attributes on the group itself."""
        self._own.update(_plain_all(attributes))

    def write(self, name: str, array: NDArray[Any], *, compression: str | None = None, **attributes: Attribute) -> None:
        """Keep one array; `compression` is for files."""
        data = np.asarray(array, order="C")
        if data.dtype.kind not in NUMBERS:
            raise DumpError(f"{name!r} is of type {data.dtype}, but dumps hold plain numbers only")
        if name in self._arrays:
            raise DumpError(f"{self.path} already holds an array {name!r}")
        self._facts[name] = {"order": len(self._arrays), **_plain_all(attributes)}
        self._arrays[name] = data

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the group."""
        return dict(self._own)

    def names(self) -> list[str]:
        """Names of the arrays, in order."""
        return list(self._arrays)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def attributes_of(self, name: str) -> dict[str, Any]:
        """Attributes of one array."""
        self._known(name)
        return dict(self._facts[name])

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one array."""
        return tuple(self._known(name).shape)

    def read(self, name: str) -> NDArray[Any]:
        """Return one array; it is not to be changed."""
        return self._known(name)

    def batches(self, name: str, size: int) -> Iterator[NDArray[Any]]:
        """Yield one array in pieces of `size` along its first axis."""
        array = self._known(name)
        for start in range(0, len(array), size):
            yield array[start : start + size]

    def _known(self, name: str) -> NDArray[Any]:
        self.current = name
        if name not in self._arrays:
            raise DumpError(f"{self.path} holds no array {name!r}")
        return self._arrays[name]


def _plain_all(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    """Return attributes as they would be read from a file."""
    return {name: plain(value) for name, value in attributes.items()}
