"""What a user may turn of the filters lens."""

from __future__ import annotations

from dataclasses import dataclass

from filterlens.lens import Options, option

__all__ = ["FiltersOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FiltersOptions(Options):
    """Which filters, and how they are scored.

    Parameters
    ----------
    kernel
        `3x3`, another `k x k`, or `all` kernels larger than 1x1.
    fold_batchnorm
        Score convolution and BatchNorm folded into one, as an ONNX export has them.
    """

    kernel: str = option(default="3x3", help="Filter size, such as 3x3, or `all` larger than 1x1.")
    fold_batchnorm: bool = option(default=False, help="Score convolution and BatchNorm folded into one.")
