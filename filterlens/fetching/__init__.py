"""What a catalog's models need from elsewhere: how much it is, and the fetching of it, a few hosts at once."""

from __future__ import annotations

from filterlens.fetching.fetcher import Fetcher, Transfer
from filterlens.fetching.locks import RUN_LOCK, Locked, check_locked, lock_path, place_of, read_lock, write_lock
from filterlens.fetching.needs import Needs, check_disk, gigabytes, needs_of, sizes_of

__all__ = [
    "RUN_LOCK",
    "Fetcher",
    "Locked",
    "Needs",
    "Transfer",
    "check_disk",
    "check_locked",
    "gigabytes",
    "lock_path",
    "needs_of",
    "place_of",
    "read_lock",
    "sizes_of",
    "write_lock",
]
