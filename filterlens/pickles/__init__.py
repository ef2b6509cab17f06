"""Read pickles without running anything that they name.

Python's own unpickler calls whatever a file can name, and its subclasses still hand out real classes that a file may
then change. This one is a stack machine of ours. A name in the file is looked up in a table that the caller gives:
a function of the caller's there is called with what the file holds, any other object there is put on the stack, and
a name that is not there becomes a `Placeholder`. Nothing is imported, no attribute is set, no method that a file
chooses is called, and what is read is never compared, hashed or printed unless it is text, bytes, a number or a tuple
of a few of them. Time and memory are in proportion to the pickle.

Examples
--------
>>> import pickle
>>> from pathlib import PurePosixPath
>>> found = read_pickle(pickle.dumps({"epoch": 3, "root": PurePosixPath("a")}))
>>> found.content["epoch"], found.content["root"].name == found.unknown[0]
(3, True)
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from filterlens.pickles.machine import Budget, Constructor, Machine, Pickle, PickleError, Placeholder
from filterlens.pickles.opcodes import run

__all__ = ["Budget", "Constructor", "Pickle", "PickleError", "Placeholder", "read_pickle"]

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


def read_pickle(
    data: bytes | mmap.mmap,
    *,
    start: int = 0,
    constructors: Mapping[str, object] = _NOTHING,
    persistent: Callable[[Any], object] | None = None,
    build: Callable[[object, object], None] | None = None,
    encoding: str = "utf-8",
    budget: Budget | None = None,
) -> Pickle:
    """Read one pickle of any protocol.

    Parameters
    ----------
    data
        Holds the pickle; what follows it is not looked at.
    start
        Where it begins.
    constructors
        By `module.name`: functions that a pickle may call with arguments of its choice, which they must check, and
        other objects that a name stands for. Those of plain values (`set`, `bytes`, `OrderedDict`, …) are known.
    persistent
        Answers persistent ids, which are refused otherwise.
    build
        Takes what a constructor returned and the state that the pickle would set on it, which is dropped otherwise.
    encoding
        Encoding of text that Python 2 wrote; `bytes` leaves it as bytes.
    budget
        How much it may ask for.

    Raises
    ------
    PickleError
        It is damaged, or asks for more than its budget; or a constructor refuses its arguments.

    Examples
    --------
    >>> import pickle
    >>> read_pickle(pickle.dumps([range(3), b"x"], 2), constructors={"builtins.xrange": range}).content
    [range(0, 3), b'x']
    """
    return run(Machine(data, start, constructors, persistent, build, encoding, budget or Budget()))
