"""A file that a source needs and that may have to be fetched: where it is kept, how large it is, how it comes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filterlens.loaders.download import Origin, fetch, obtain, share
from filterlens.loaders.mirror import mirror_of
from filterlens.loaders.opener import host_of
from filterlens.loaders.quick_check import quick_check
from filterlens.loaders.transfer import Report

__all__ = ["CacheFile", "RemoteFile"]


class RemoteFile(Protocol):
    """What loaders say of each file that an entry needs."""

    @property
    def name(self) -> str:
        """An address that a browser can open: files of one address have the same content."""
        ...

    @property
    def place(self) -> str:
        """Where it is kept: models may want one file in several places."""
        ...

    @property
    def host(self) -> str:
        """Whose server it is on."""
        ...

    def cached(self) -> Path | None:
        """Return the whole file where it is here already; looks at its outline, not at its values."""
        ...

    def size(self) -> int | None:
        """Ask how many bytes it has; None where nobody says."""
        ...

    def obtain(self, report: Report) -> bool:
        """Fetch it where it is not here; return whether it was fetched.

        Raises
        ------
        DownloadError
            It cannot be fetched whole.
        """
        ...

    def copy_from(self, other: RemoteFile) -> None:
        """Take it from another place where it is already.

        Raises
        ------
        DownloadError
            The disk is full.
        """
        ...

    def fetch(self, *, offline: bool = False) -> Path:
        """Return it, fetched first where it is not here; `offline` asks the cache and a mirror folder only.

        Raises
        ------
        DownloadError
            It cannot be had.
        """
        ...

    def remove(self) -> None:
        """Remove it from the cache."""
        ...


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file with a place in the cache.

    Parameters
    ----------
    target
        Its place.
    origin
        Where it comes from.
    """

    target: Path
    origin: Origin

    @property
    def name(self) -> str:
        """Return an address that a browser can open."""
        return self.origin.name

    @property
    def place(self) -> str:
        """Return the target."""
        return str(self.target)

    @property
    def host(self) -> str:
        """Return whose server it is on."""
        return host_of(self.origin.url)

    def cached(self) -> Path | None:
        """Return the target where it is here and whole."""
        try:
            return self.target if self.target.is_file() and not quick_check(self.target) else None
        except OSError:
            return None

    def size(self) -> int | None:
        """Ask how many bytes it has."""
        mirror = mirror_of(self.target, checksum=self.origin.checksum)
        if mirror is not None and mirror.path is not None and mirror.path.is_file():
            return mirror.path.stat().st_size
        return self.origin.ask_size()

    def obtain(self, report: Report) -> bool:
        """Fetch it where it is not here."""
        return obtain(self.target, self.origin, report=report)

    def copy_from(self, other: RemoteFile) -> None:
        """Link the other's file, or copy it where the disk knows no links."""
        if (source := other.cached()) is not None:
            share(source, self.target)

    def fetch(self, *, offline: bool = False) -> Path:
        """Return the target, fetched first where it is not here."""
        return fetch(self.target, self.origin, offline=offline)

    def remove(self) -> None:
        """Remove it from the cache."""
        self.target.unlink(missing_ok=True)
