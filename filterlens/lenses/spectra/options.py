"""What a user may turn of the spectra lens."""

from __future__ import annotations

from dataclasses import dataclass

from filterlens.errors import InputError
from filterlens.lens import Options, option

__all__ = ["SpectraOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectraOptions(Options):
    """How closely the operator norm of convolutions is bounded.

    Parameters
    ----------
    operator_frequencies
        Frequencies an axis at which a convolution's transfer function is evaluated, at most.
    operator_gflop
        Work of one Gram product over all frequencies of a layer, in 10⁹ floating-point operations: above it fewer
        frequencies are evaluated, and the bound is looser; 0 bounds by unrolling alone.

    Raises
    ------
    InputError
        A value is out of range.
    """

    operator_frequencies: int = option(default=32, help="Frequencies an axis for a convolution's operator norm.")
    operator_gflop: float = option(default=1.0, help="GFLOP that a step of one layer's operator norm may take.")

    def __post_init__(self) -> None:
        """Refuse what bounds nothing."""
        Options.__post_init__(self)
        if not 1 <= self.operator_frequencies <= 1024:
            raise InputError(f"operator_frequencies: expected 1 to 1024, got {self.operator_frequencies}")
        if not 0 <= self.operator_gflop < float("inf"):
            raise InputError(f"operator_gflop: expected a number from 0, got {self.operator_gflop}")
