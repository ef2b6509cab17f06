"""Spectra of a network in memory."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from filterlens.errors import LensSkipped
from filterlens.lenses.spectra.analyzer import matrix_rows
from filterlens.lenses.spectra.extractor import decompose
from filterlens.lenses.spectra.options import SpectraOptions
from filterlens.tracing.matrices import network_matrices

__all__ = ["measure"]


def measure(network: nn.Module, images: Tensor | None, options: SpectraOptions) -> Iterator[dict[str, object]]:
    """Score every weight matrix of a network, in the order of its state dict.

    Parameters
    ----------
    network
        Left exactly as it was.
    images
        Not used.
    options
        How closely operator norms are bounded.

    Yields
    ------
        Rows of the score table.

    Raises
    ------
    LensSkipped
        There is no weight matrix.
    """
    del images
    matrices = network_matrices(network)
    if not matrices:
        raise LensSkipped(f"{type(network).__name__} holds no weight matrix of floating-point numbers")
    for name, values, attributes in decompose(matrices, options):
        yield from matrix_rows(name, values, attributes)
