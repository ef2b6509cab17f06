"""Libraries that an extra brings: said in one line where they are missing, before any work is done."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from filterlens.errors import MissingExtraError

__all__ = ["AUDIT", "require_audit"]

AUDIT: Final = ("torch", "torchvision", "timm", "robustbench", "safetensors", "numba", "gdown", "pyautoattack")
"""What the extra `audit` brings: whatever loads, measures or trains a network; finished runs are read without it."""


def require_audit() -> None:
    """Refuse what loads, measures or trains networks where the extra `audit` is not installed.

    Raises
    ------
    MissingExtraError
        One of its libraries is missing; the message names all that are, and how they are installed.
    """
    missing = [name for name in AUDIT if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f'this needs libraries that are not installed ({", ".join(missing)}): pip install "filterlens[audit]", or '
            'for the processor alone uv pip install --torch-backend cpu "filterlens[audit]", a few times smaller; '
            "reports, tables, cards and comparisons of finished runs do without"
        )
