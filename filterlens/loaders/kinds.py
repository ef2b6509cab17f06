"""Detect from a file's first and last bytes that it is no checkpoint, or a truncated one."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["detect_non_checkpoint", "is_whole_zip", "is_zip"]


def detect_non_checkpoint(path: Path) -> str:
    """Say what the file is instead of a checkpoint; empty where it may be one.

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


def is_zip(path: Path) -> bool:
    """Whether the file begins as torch's zip archives do, whole or not."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def is_whole_zip(path: Path) -> bool:
    """Whether the file is a zip archive whose directory is there."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # damaged where it says where its directory is
        return False
