"""Tell a file by its first bytes when it is plainly something else than a checkpoint."""

from __future__ import annotations

from pathlib import Path

__all__ = ["impostor"]


def impostor(path: Path) -> str:
    """Say what the file is instead of a checkpoint; empty where nothing is plainly wrong.

    Parameters
    ----------
    path
        A file that is there.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page, not a checkpoint (a download's quota or log-in page)"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself (run `git lfs pull`)"
    return ""
