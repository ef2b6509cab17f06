"""What a payload is: a file made to do harm, and where it may come in.

Everything that a payload names, writes or draws carries `TOKEN`: what shows it in executed text, or in a page, shows
that the file's words were taken for more than words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["CHECKPOINT_WAYS", "RUN_WAYS", "TOKEN", "WAYS", "Case", "Payload", "command_of", "unique"]

TOKEN = "zq7x"

WAYS = (
    "inspect",
    "compare",
    "check",
    "audit",
    "folder",
    "analyze",
    "report",
    "filterdb",
    "data",
    "manifold",
    "catalog",
    "server",
    "jobs",
    "card",
    "table",
    "training",
    "corrupted",
)
RUN_WAYS = ("analyze", "report", "card", "table")
CHECKPOINT_WAYS = ("inspect", "compare", "check", "audit", "folder")


@dataclass(frozen=True, slots=True)
class Case:
    """Where one payload is written.

    Parameters
    ----------
    folder
        Empty, and the payload's own.
    marker
        A file that appears when code of the payload runs.
    secret
        A file beside the folder that is not the payload's to read or to change.
    port
        Of the local server that answers for the payload; 0 without one.
    """

    folder: Path
    marker: Path
    secret: Path
    port: int = 0


@dataclass(frozen=True, slots=True)
class Payload:
    """A file, or a folder, made to do harm.

    Parameters
    ----------
    kind, name
        Together they are unique.
    about
        What it does, with the advisory or the test suite that it comes from.
    write
        Writes it into a case's folder.
    file
        The name, in that folder, that the command is given.
    ways
        Where it may come in.
    modules
        Modules that it wants imported.
    reaches
        It names an address that may be asked, which is not the local server's.
    layers
        Layers of an honest network: each is scored and printed, which takes time.
    """

    kind: str
    name: str
    about: str
    write: Callable[[Case], None]
    file: str
    ways: tuple[str, ...] = CHECKPOINT_WAYS
    modules: tuple[str, ...] = ()
    reaches: bool = False
    layers: int = 0

    @property
    def id(self) -> str:
        """Kind and name."""
        return f"{self.kind}/{self.name}"


def command_of(marker: Path) -> str:
    """A harmless shell command that shows that a shell ran."""
    return f"touch {marker}"


def unique(payloads: Iterable[Payload]) -> list[Payload]:
    """Number payloads of one id."""
    found: dict[str, Payload] = {}
    for payload in payloads:
        count, name = 1, payload.name
        while f"{payload.kind}/{name}" in found:
            count += 1
            name = f"{payload.name} ({count})"
        found[f"{payload.kind}/{name}"] = replace(payload, name=name)
    return list(found.values())
