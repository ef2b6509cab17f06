"""What a user may turn of the frequency lens."""

from __future__ import annotations

from dataclasses import dataclass

from filterlens.errors import InputError
from filterlens.lens import Options, option
from filterlens.lenses.kernels import choose_kernel

__all__ = ["FrequencyOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyOptions(Options):
    """Which filters, and how finely their spectra are sampled.

    Parameters
    ----------
    kernel
        `auto` (3x3 where the network has them, else its most frequent square ones larger than 1x1), `3x3`, another
        `k x k`, or `all` larger than 1x1.
    filter_frequencies
        Frequencies an axis of the zero-padded transform; twice the filter's size where that is more.

    Raises
    ------
    InputError
        The kernel is no filter size, or the number of frequencies is not positive, even and at most 256.
    """

    kernel: str = option(
        default="auto", help="Filter size: 3x3 or another, all larger than 1x1, or auto: 3x3, else the most frequent."
    )
    filter_frequencies: int = option(default=32, help="Frequencies an axis of a filter's zero-padded transform.")

    def __post_init__(self) -> None:
        """Refuse a filter size that is none, and a transform that no filter has."""
        Options.__post_init__(self)
        choose_kernel(self.kernel, ())
        if not 2 <= self.filter_frequencies <= 256 or self.filter_frequencies % 2:
            raise InputError(
                f"filter_frequencies: expected an even number from 2 to 256, got {self.filter_frequencies}"
            )
