"""What a catalog's models need from elsewhere: how much it is, and the fetching of it, a few hosts at once."""

from __future__ import annotations

from filterlens.fetching.fetcher import Fetcher, Transfer
from filterlens.fetching.needs import Needs, check_disk, gigabytes, needs_of, sizes_of

__all__ = ["Fetcher", "Needs", "Transfer", "check_disk", "gigabytes", "needs_of", "sizes_of"]
