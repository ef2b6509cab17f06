"""Images that come with the package: 512 test images of CIFAR-10, so that every lens works without a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from filterlens.inputs.folder import load_folder
from filterlens.inputs.images import BUNDLED_CIFAR10, Images

__all__ = ["BUNDLED_CIFAR10", "bundled_cifar10", "bundled_file"]


def bundled_file() -> Path:
    """Where the archive lies."""
    return Path(__file__).parent / "cifar10_test_512.zip"


def bundled_cifar10(n: int = 512) -> Images:
    """Read n of the bundled test images of CIFAR-10, always the same ones.

    They are JPEG copies, drawn by a seed; `docs/data.md` says from where. No network of `cifar10-small` was trained on
    them.
    """
    images = load_folder(bundled_file(), n)
    return replace(images, name=BUNDLED_CIFAR10)
