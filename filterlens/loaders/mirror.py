"""A copy of the cache that is asked first: a folder, or a plain web server, in the cache's own layout."""

from __future__ import annotations

import ipaddress
import os
import shutil
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from filterlens.errors import InputError
from filterlens.loaders.opener import shown_url
from filterlens.loaders.partial import Partial
from filterlens.loaders.transfer import MAX_BYTES, Report, stream_url
from filterlens.process.cache import cache_folder

__all__ = ["MIRROR", "Mirror", "check_mirror", "mirror_of"]

MIRROR: Final = "FILTERLENS_MIRROR"
"""The variable that names it, inherited by worker processes."""
_BLOCK: Final = 1 << 22


class Mirror:
    """Where a file of the cache is in the mirror.

    Parameters
    ----------
    place
        A folder's path or an address, without a slash at its end.
    relative
        The file's place in the cache.
    """

    def __init__(self, place: str, relative: Path) -> None:
        self.is_folder = not _is_url(place)
        self.url = "" if self.is_folder else f"{place}/{quote(relative.as_posix())}"
        self.path = Path(place).expanduser() / relative if self.is_folder else None
        self.name = str(self.path) if self.is_folder else shown_url(self.url)

    def save(self, partial: Partial, report: Report, *, size: int | None) -> None:
        """Bring the file.

        Raises
        ------
        OSError, http.client.HTTPException, EOFError
            The mirror does not have it, or cannot be reached.
        DownloadError
            As for any file on the web.
        """
        if self.path is None:
            stream_url(self.url, partial, limit=MAX_BYTES if size is None else size, report=report)
            return
        total, done = self.path.stat().st_size, 0
        if total > shutil.disk_usage(partial.path.parent).free:
            raise OSError(28, os.strerror(28))
        with self.path.open("rb") as source, partial.path.open("wb") as file:
            while block := source.read(_BLOCK):
                file.write(block)
                done += len(block)
                report(done, total)


def check_mirror(place: str) -> None:
    """Refuse what no mirror is.

    Raises
    ------
    InputError
        It is neither a folder nor an address.
    """
    if _is_url(place):
        parts = urlsplit(place)
        if "@" in parts.netloc or not parts.hostname:
            raise InputError(f"--mirror {shown_url(place)}: an address without a user's name or password was expected")
    elif not Path(place).expanduser().is_dir():
        raise InputError(f"--mirror {place}: give a folder, or an https: address, in the layout of the cache")


def mirror_of(target: Path, *, checksum: str) -> Mirror | None:
    """Return where the mirror has a file of the cache; None where there is no mirror, or the file has another place.

    Parameters
    ----------
    target
        The file's place in the cache.
    checksum
        Its own, without which nothing is taken over plain HTTP, but from this machine.

    Raises
    ------
    InputError
        What is given is neither a folder nor an address.
    """
    place = os.environ.get(MIRROR, "").strip().rstrip("/")
    if not place:
        return None
    check_mirror(place)
    parts = urlsplit(place)
    if parts.scheme == "http" and not checksum and not _is_here(parts.hostname or ""):
        return None
    try:
        return Mirror(place, target.relative_to(cache_folder()))
    except ValueError:
        return None


def _is_url(place: str) -> bool:
    return place.startswith(("https://", "http://"))


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
