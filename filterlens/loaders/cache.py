"""Where downloads lie: RobustBench's own layout, so that a `models/` folder that is already there can be pointed at."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the folder of downloads: `FILTERLENS_CACHE`, or the platform's place for caches."""
    given = os.environ.get("FILTERLENS_CACHE", "").strip()
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("filterlens", appauthor=False))
