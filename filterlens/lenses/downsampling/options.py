"""What a user may turn of the downsampling lens."""

from __future__ import annotations

from dataclasses import dataclass

from filterlens.errors import InputError
from filterlens.lens import Options, option

__all__ = ["DownsamplingOptions", "parse_channels"]


def parse_channels(text: str) -> int | None:
    """Read a number of feature maps, or `all`.

    Raises
    ------
    InputError
        It is neither.
    """
    if text == "all":
        return None
    if not (text.isdecimal() and int(text)):
        raise InputError(f"channels {text!r}: give a number of feature maps a layer, or `all`")
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownsamplingOptions(Options):
    """How many feature maps are kept.

    Parameters
    ----------
    images
        How many images are run.
    channels
        Feature maps kept a layer, chosen by the seed; None keeps all.
    """

    images: int = option(default=32, help="Images a lens looks at.", at_least=1)
    channels: int | None = option(
        default=64,
        help="Feature maps kept a layer, or `all`.",
        parse="filterlens.lenses.downsampling.options:parse_channels",
    )
