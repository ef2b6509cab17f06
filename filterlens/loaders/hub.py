"""Files of the Hugging Face Hub, through its own client and cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filterlens.errors import DownloadError
from filterlens.loaders.cache import cache_folder

__all__ = ["hub_file"]


def hub_file(repository: str, names: Sequence[str], *, offline: bool = False) -> Path:
    """Return the first of the files that a repository has, fetched where it is not cached.

    Parameters
    ----------
    repository
        `ORG/NAME` or `ORG/NAME@REVISION`.
    names
        Files in the order of preference.
    offline
        Fetch nothing.

    Raises
    ------
    DownloadError
        None is cached or can be fetched.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = repository.partition("@")
    own = str(cache_folder() / "huggingface")
    try:
        for folder in (own, None):
            for file in names:
                try:
                    return Path(
                        hf_hub_download(name, file, revision=revision or None, cache_dir=folder, local_files_only=True)
                    )
                except LocalEntryNotFoundError:
                    continue
        if offline:
            raise DownloadError(
                f"{repository} is not in the cache ({own}), and the network is not to be used: "
                "run once without --offline"
            )
        for file in names:
            try:
                return Path(hf_hub_download(name, file, revision=revision or None, cache_dir=own))
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                continue
    except HFValidationError as error:
        raise DownloadError(f"{repository!r} is no repository's name: ORG/NAME or ORG/NAME@REVISION") from error
    except (HfHubHTTPError, OSError, LocalEntryNotFoundError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DownloadError(
            f"{repository} cannot be fetched from the Hugging Face Hub ({said}): check its name and the network"
        ) from error
    raise DownloadError(f"{repository} has none of {', '.join(names)}: give a file's address with url:")
