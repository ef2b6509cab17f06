"""Files of the Hugging Face Hub, through its own client and cache."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, overload

from filterlens.errors import DownloadError
from filterlens.loaders.download import read_json
from filterlens.loaders.quick_check import quick_check
from filterlens.loaders.transfer import Report
from filterlens.process.cache import cache_folder
from filterlens.process.printable import printable

if TYPE_CHECKING:
    from filterlens.loaders.remote import RemoteFile

__all__ = ["HubFile", "hub_file"]

#: its client keeps a revision as a file of that name
_REVISION: Final = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository; see `hub_file` and `filterlens.loaders.remote.RemoteFile`."""

    repository: str
    names: tuple[str, ...]
    optional: bool = False

    @property
    def name(self) -> str:
        """Return an address that a browser can open, of the first of its names."""
        name, _, revision = self.repository.partition("@")
        return f"https://{self.host}/{name}/blob/{revision or 'main'}/{self.names[0]}"

    @property
    def place(self) -> str:
        """Return its address: the client has one place for it."""
        return self.name

    @property
    def host(self) -> str:
        """Return whose server it is on."""
        return "huggingface.co"

    def cached(self) -> Path | None:
        """Return the whole file where it is here."""
        try:
            return hub_file(self.repository, self.names, offline=True, optional=True)
        except DownloadError:
            return None

    def size(self) -> int | None:
        """Ask how many bytes it has."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

        name, _, revision = self.repository.partition("@")
        for file in self.names:
            try:
                size: int | None = get_hf_file_metadata(hf_hub_url(name, file, revision=revision or None)).size
            except EntryNotFoundError:
                continue
            except (HfHubHTTPError, HFValidationError, OSError, ValueError):
                return None
            return size
        return None

    def obtain(self, report: Report) -> bool:
        """Fetch it where it is not here."""
        if self.cached() is not None:
            return False
        report(0, None)
        path = hub_file(self.repository, self.names, optional=self.optional)
        if path is not None:
            report(path.stat().st_size, path.stat().st_size)
        return path is not None

    def copy_from(self, other: RemoteFile) -> None:
        """Do nothing: there is no other place."""

    def fetch(self, *, offline: bool = False) -> Path:
        """Return the file, fetched first where it is not here."""
        return hub_file(self.repository, self.names, offline=offline)

    def fetch_optional(self, *, offline: bool = False) -> Path | None:
        """Return the file, or None where the repository has none."""
        return hub_file(self.repository, self.names, offline=offline, optional=True)

    def remove(self) -> None:
        """Remove it from our cache, never from the client's own."""
        path = self.cached()
        if path is not None and (cache_folder() / "huggingface") in path.parents:
            _remove(path)


@overload
def hub_file(repository: str, names: Sequence[str], *, offline: bool = ..., optional: Literal[False] = ...) -> Path: ...
@overload
def hub_file(repository: str, names: Sequence[str], *, offline: bool = ..., optional: bool) -> Path | None: ...
def hub_file(repository: str, names: Sequence[str], *, offline: bool = False, optional: bool = False) -> Path | None:
    """Return the first of the files that a repository has, fetched where no whole one is cached.

    Parameters
    ----------
    repository
        `ORG/NAME` or `ORG/NAME@REVISION`.
    names
        Files in the order of preference.
    offline
        Fetch nothing.
    optional
        Return None where the repository has none of the files, or where none is cached and nothing is to be fetched.

    Raises
    ------
    DownloadError
        None is cached or can be fetched, or what came is no whole checkpoint.
    """
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, named, revision = repository.partition("@")
    if named and not _REVISION.fullmatch(revision):
        raise DownloadError(f"{printable(repr(revision))} is no revision: a branch, tag or commit was expected after @")
    own = cache_folder() / "huggingface"
    try:
        if found := _cached(name, names, revision or None, (own, None)):
            return found
        for file in () if offline else names:
            try:
                return _fetched(name, file, revision or None, own)
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                continue
    except HFValidationError as error:
        raise DownloadError(
            f"{printable(repository[:500])!r} is no repository's name: ORG/NAME or ORG/NAME@REVISION"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DownloadError(
            f"{repository} cannot be fetched from the Hugging Face Hub ({printable(said[:500])}): check its name "
            "and the network"
        ) from error
    if optional:
        return None
    if offline:
        raise DownloadError(
            f"{repository} is not in the cache ({own}), and the network is not to be used: run once without --offline"
        )
    raise DownloadError(f"{repository} has none of {', '.join(names)}: give a file's address with url:")


def _cached(name: str, files: Sequence[str], revision: str | None, folders: Sequence[Path | None]) -> Path | None:
    """Find a whole file in our cache, then in the client's own (None)."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for folder in folders:
        for file in files:
            try:
                path = Path(hf_hub_download(name, file, revision=revision, cache_dir=folder, local_files_only=True))
            except LocalEntryNotFoundError:
                continue
            if not (wrong := _wrong(path)):
                return path
            logging.getLogger(__name__).warning("%s in the cache is %s: it is fetched anew", path, wrong)
            if folder is not None:
                _remove(path)
    return None


def _fetched(name: str, file: str, revision: str | None, folder: Path) -> Path:
    """Fetch a file; what is no whole one is not kept."""
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(name, file, revision=revision, cache_dir=folder))
    if wrong := _wrong(path):
        _remove(path)
        raise DownloadError(f"{name} on the Hugging Face Hub sent {wrong} as {file}: try again later")
    return path


def _wrong(path: Path) -> str:
    """Say what is wrong with a file."""
    if path.suffix != ".json":
        return quick_check(path)
    try:
        read_json(path, path.name)
    except DownloadError:
        return "no JSON"
    return ""


def _remove(path: Path) -> None:
    """Remove a file of the client's cache: the name and the bytes that it links to."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
