"""The folder of downloads, in RobustBench's layout: an existing `models/` folder may be named as the cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the folder of downloads: `FILTERLENS_CACHE`, or the platform's place for caches."""
    given = os.environ.get("FILTERLENS_CACHE", "").strip()
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("filterlens", appauthor=False))
