"""`--time-limit 3h45m`: a duration as people and Slurm write it."""

from __future__ import annotations

import re
import signal
from typing import Final

from filterlens.errors import InputError

__all__ = ["TIME_IS_UP", "parse_duration"]

TIME_IS_UP: Final = 128 + signal.SIGTERM
"""Exit code where models are left to the next run: as if a scheduler had ended the audit."""
_PARTS: Final = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?", re.ASCII)
_SECONDS: Final = (86_400, 3_600, 60, 1)


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    Raises
    ------
    InputError
        It is not written as days, hours, minutes and seconds.

    Examples
    --------
    >>> parse_duration("3h45m"), parse_duration("90s")
    (13500.0, 90.0)
    """
    found = _PARTS.fullmatch("".join(text.split()).lower())
    if found is None or not any(found.groups()):
        raise InputError(f"--time-limit {text}: give it as 3h45m, 90m, 2d or 30s")
    return float(sum(int(part) * unit for part, unit in zip(found.groups(), _SECONDS, strict=True) if part))
