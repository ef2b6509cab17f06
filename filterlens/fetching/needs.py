"""Which files a catalog's models need, how large they are, and whether the disk has room for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filterlens.catalogs import Entry
from filterlens.errors import DownloadError, FilterlensError
from filterlens.loaders import remote_files
from filterlens.process.cache import cache_folder

if TYPE_CHECKING:
    from filterlens.loaders.remote import RemoteFile

__all__ = ["Needs", "check_disk", "gigabytes", "needs_of", "sizes_of"]

_AT_ONCE: Final = 8
_GIVEN_UP: Final = 2  # questions that a host leaves unanswered before it is not asked any more


@dataclass(frozen=True, slots=True)
class Needs:
    """What one model needs.

    Parameters
    ----------
    entry
        Its row.
    files
        What its loader needs from elsewhere; `missing` are those that are not here.
    error
        Why nobody can say.
    is_known
        Whether its loader says what it needs.
    """

    entry: Entry
    files: tuple[RemoteFile, ...] = ()
    missing: tuple[RemoteFile, ...] = ()
    error: FilterlensError | None = None
    is_known: bool = True


def needs_of(entry: Entry, folder: Path, *, offline: bool = False) -> Needs:
    """Ask the loader of an entry which files it needs.

    Parameters
    ----------
    entry
        A catalog's row.
    folder
        The catalog's folder.
    offline
        Ask nobody.
    """
    try:
        files = remote_files(entry, folder, offline=offline)
        if files is None:
            return Needs(entry, is_known=False)
        return Needs(entry, tuple(files), tuple(file for file in files if file.cached() is None))
    except FilterlensError as error:
        return Needs(entry, error=error)
    except Exception as error:  # noqa: BLE001 - a third party's code, or a library's on a wrong name
        return Needs(entry, error=DownloadError(f"{entry.source}: its files cannot be named ({error})"))


def sizes_of(files: Iterable[RemoteFile]) -> dict[str, int | None]:
    """Ask for the sizes of files, several at once.

    Returns
    -------
        Bytes by the file's name; None where nobody says.
    """
    silent: dict[str, int] = {}

    def ask(file: RemoteFile) -> int | None:
        if silent.get(file.host, 0) >= _GIVEN_UP:
            return None
        size = file.size()
        silent[file.host] = 0 if size is not None else silent.get(file.host, 0) + 1
        return size

    known = {file.name: file for file in files}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(known, pool.map(ask, known.values()), strict=True))


def check_disk(sizes: Mapping[str, int | None] | Sequence[int], *, advice: str = "") -> int:
    """Refuse a download for which the cache's disk has no room; return the free bytes.

    Parameters
    ----------
    sizes
        In bytes; unknown ones count nothing.
    advice
        What else helps.

    Raises
    ------
    DownloadError
        The known sizes come to more than is free.
    """
    values = sizes.values() if isinstance(sizes, Mapping) else sizes
    total = sum(size for size in values if size is not None)
    place = cache_folder()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if total > free:
        raise DownloadError(
            f"{gigabytes(total)} are to be fetched, and the disk of the cache ({cache_folder()}) has {gigabytes(free)} "
            f"free: make room, set FILTERLENS_CACHE to another disk, or choose fewer models with --models{advice}"
        )
    return free


def gigabytes(size: float) -> str:
    """Write a number of bytes for people.

    Examples
    --------
    >>> gigabytes(1_234_000_000), gigabytes(45_600_000), gigabytes(900)
    ('1.2 GB', '45.6 MB', '0.9 kB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e3:.1f} kB"
