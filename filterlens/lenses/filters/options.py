"""What a user may turn of the filters lens."""

from __future__ import annotations

from dataclasses import dataclass

from filterlens.lens import Options, option
from filterlens.lenses.kernels import choose_kernel

__all__ = ["FiltersOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FiltersOptions(Options):
    """Which filters, and how they are scored.

    Parameters
    ----------
    kernel
        `auto` (3x3 where the network has them, else its most frequent square ones larger than 1x1), `3x3`, another
        `k x k`, or `all` larger than 1x1.
    fold_batchnorm
        Score convolution and BatchNorm folded into one, as an ONNX export has them.

    Raises
    ------
    InputError
        The kernel is no filter size.
    """

    kernel: str = option(
        default="auto", help="Filter size: 3x3 or another, all larger than 1x1, or auto: 3x3, else the most frequent."
    )
    fold_batchnorm: bool = option(default=False, help="Score convolution and BatchNorm folded into one.")

    def __post_init__(self) -> None:
        """Refuse a filter size that is none."""
        Options.__post_init__(self)
        choose_kernel(self.kernel, ())
