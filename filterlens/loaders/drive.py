"""Public files on Google Drive, which may answer with a page: to be confirmed, refused for today, or not public."""

from __future__ import annotations

import http.client
import re
from typing import Final

from filterlens.errors import DownloadError
from filterlens.loaders.download import Origin
from filterlens.loaders.partial import Partial
from filterlens.loaders.transfer import Report, ask, save_url, stream_url
from filterlens.process.printable import printable

__all__ = ["drive"]

ADDRESS: Final = "https://drive.google.com/uc?id={}"
_MAX_PAGE: Final = 1 << 20
_WRITTEN: Final = re.compile(r"uc-name-size.{0,2000}?\(([0-9]{1,4}(?:\.[0-9]{1,3})?)([KMGT])\)", re.DOTALL)
_QUOTA: Final = re.compile(r"quota|too many users|viewed or downloaded this file recently", re.IGNORECASE)
_PRIVATE: Final = re.compile(r"accounts\.google\.com|sign in|need access|request access", re.IGNORECASE)


def drive(identifier: str) -> Origin:
    """Name a public file on Google Drive, as RobustBench does."""
    url = ADDRESS.format(identifier)

    def stream(partial: Partial, report: Report) -> None:
        stream_url(url, partial, report=report, find=lambda answer: _find(answer, url), cookies=True)

    return Origin(url, lambda path: save_url(url, path), url=url, stream=stream, sizer=lambda: ask(url, _size))


def _size(answer: http.client.HTTPResponse) -> int | None:
    """Read the size that an answer declares, or that a page writes behind the file's name, such as (346M)."""
    if not _is_page(answer):
        length = answer.headers.get("Content-Length", "")
        return int(length) if length.isascii() and length.isdecimal() and len(length) < 19 else None
    found = _WRITTEN.search(answer.read(_MAX_PAGE).decode("utf-8", "replace"))
    return None if found is None else int(float(found[1]) * 1024 ** " KMGT".index(found[2]))


def _is_page(answer: http.client.HTTPResponse) -> bool:
    return "Content-Disposition" not in answer.headers and answer.headers.get("Content-Type", "").lower().startswith(
        "text/html"
    )


def _find(answer: http.client.HTTPResponse, url: str) -> str:
    """Return the address to which a page of Google Drive leads; nothing where the answer is the file.

    Raises
    ------
    DownloadError
        The page refuses the file, and says why; or leads nowhere.
    """
    if not _is_page(answer):
        return ""
    page = " ".join(answer.read(_MAX_PAGE).decode("utf-8", "replace").split())  # gdown looks at each line by itself
    from gdown.download import get_url_from_gdrive_confirmation
    from gdown.exceptions import FileURLRetrievalError

    try:
        found: str = get_url_from_gdrive_confirmation(page)
    except FileURLRetrievalError as error:
        raise _refusal(page, str(error), url) from error
    except (KeyError, ValueError, RecursionError) as error:
        raise _refusal(page, "its page has another form", url) from error
    return found


def _refusal(page: str, said: str, url: str) -> DownloadError:
    """Tell a file that is refused for today from one that is not public."""
    by_hand = "fetch it with a browser and put it into the cache"
    if _QUOTA.search(page):
        return DownloadError(
            f"Google Drive refuses {url} because it was fetched too often today: try again tomorrow, or {by_hand}"
        )
    if _PRIVATE.search(page):
        return DownloadError(f"Google Drive gives {url} to people who sign in only: {by_hand}")
    return DownloadError(
        f"Google Drive answers {url} with a page that leads to no file "
        f"({printable(' '.join(said.split()))[:200]}): try again later, or {by_hand}"
    )
