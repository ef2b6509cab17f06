"""The spectra lens's extractor: the singular values of every weight matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import LensSkipped
from filterlens.lens import ExtractContext
from filterlens.lenses.spectra.decomposition import operator_norm_bound, singular_values
from filterlens.lenses.spectra.options import SpectraOptions
from filterlens.tracing.matrices import WeightMatrix, network_matrices, weight_matrices

__all__ = ["decompose", "extract"]

_LARGEST: Final = 16_384  # of the smaller side: its Gram matrix takes 2 GiB


def extract(context: ExtractContext[SpectraOptions]) -> None:
    """Write the singular values of every weight matrix to a dump.

    Parameters
    ----------
    context
        Bare weights are enough. The group is filled with one float64 array a matrix, shape (min(rows, columns),),
        falling, in the order of the state dict, with the attributes `kind`, `rows`, `columns`, `dtype`, `conv_depth`,
        `conv_depth_norm` and, of convolutions, `operator_norm` and `by_gram_iteration`. The array is empty where the
        smaller side is over 16,384, and NaN where the weight is not finite.

    Raises
    ------
    LensSkipped
        There is no weight matrix of floating-point numbers.
    """
    model = context.model
    matrices = weight_matrices(model.weights) if model.network is None else network_matrices(model.network)
    if not matrices:
        raise LensSkipped(f"{context.entry.model_id} holds no weight matrix of floating-point numbers")
    for done, (name, values, attributes) in enumerate(decompose(matrices, context.options), start=1):
        context.group.write(name, values, compression=None, **attributes)
        context.progress(done, len(matrices))


def decompose(
    matrices: list[WeightMatrix], options: SpectraOptions
) -> Iterator[tuple[str, NDArray[np.float64], dict[str, str | int | float | bool]]]:
    """Singular values and attributes of each matrix, as `extract` writes them."""
    deepest = max(1, matrices[-1].place)
    for matrix in matrices:
        weight = matrix.tensor()
        flat = weight.flatten(1)
        too_large = min(flat.shape) > _LARGEST
        values = np.empty(0) if too_large else singular_values(flat)
        attributes: dict[str, str | int | float | bool] = {
            "kind": matrix.kind,
            "rows": flat.shape[0],
            "columns": flat.shape[1],
            "dtype": str(weight.dtype).removeprefix("torch."),
            "conv_depth": matrix.place,
            "conv_depth_norm": matrix.place / deepest,
        }
        if matrix.kind == "conv" and not too_large:
            exact = matrix.geometry.disjoint or weight.shape[2:].numel() == 1
            if exact and matrix.geometry.groups == 1:
                bound, gram = float(values[0]), True
            else:
                bound, gram = operator_norm_bound(
                    weight,
                    groups=matrix.geometry.groups,
                    frequencies=options.operator_frequencies,
                    gflop=options.operator_gflop,
                )
            attributes |= {"operator_norm": bound, "by_gram_iteration": gram}
        yield matrix.name, values, attributes
