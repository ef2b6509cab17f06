"""Scores of a model at hand, for a notebook."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

__all__ = ["measure"]


def measure(
    model: nn.Module,
    *,
    kernel: str = "3x3",
    fold_batchnorm: bool = False,
    example: Tensor | None = None,
) -> pd.DataFrame:
    """Score every convolution of a model, one row a layer.

    Parameters
    ----------
    model
        Any network; it is left exactly as it was (modes, hooks, weights, random state).
    kernel
        `3x3`, another size, or `all` larger than 1x1.
    fold_batchnorm
        Score convolution and the BatchNorm behind it folded into one.
    example
        A batch that the model takes, for the depth of the layers; None tries usual image sizes.

    Returns
    -------
        In execution order: `layer`, `kernel`, `c_out`, `n_filters`, `n_kept`, `conv_depth`, `conv_depth_norm` in
        [0, 1], `depth_from` (`graph`, or `keys` where the model ran at none of the sizes), `sparsity`,
        `variance_entropy`, `variance_entropy_raw`, `variance_entropy_raw_normalized` (3x3 only), `orthogonality` and
        `note`. A layer that holds NaN or Inf has no scores, and its note says so.

    Raises
    ------
    InputError
        `kernel` is no size, or the example is not what the model takes.
    LensSkipped
        There is no such convolution, or BatchNorm cannot be folded because the model does not run.

    Examples
    --------
    >>> from torch import nn
    >>> import filterlens
    >>> table = filterlens.measure(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)))
    >>> table["layer"].tolist(), table["conv_depth"].tolist()
    (['0', '1'], [0, 1])

    References
    ----------
    [Gavrikov2022Lens]_, section 3.
    """
    import pandas as pd

    from filterlens.errors import LensSkipped
    from filterlens.extractors.filters import describe_missing, network_convolutions, parse_kernel

    wanted = parse_kernel(kernel)
    every = network_convolutions(model, fold=fold_batchnorm, traced=None if example is None else _trace(model, example))
    chosen = [layer for layer in every if wanted(layer.kernel)]
    if not chosen:
        raise LensSkipped(describe_missing(type(model).__name__, kernel, every))
    rows = [
        {
            "layer": layer.name,
            "kernel": f"{layer.kernel[0]}x{layer.kernel[1]}",
            "conv_depth": layer.conv_depth,
            "conv_depth_norm": layer.conv_depth_norm,
            "depth_from": layer.depth_from,
            **_scores(layer.read()),
        }
        for layer in chosen
    ]
    return pd.DataFrame(rows)[list(_COLUMNS)]


_SCORES = (
    "sparsity",
    "variance_entropy",
    "variance_entropy_raw",
    "variance_entropy_raw_normalized",
    "orthogonality",
)
_COLUMNS = (
    *("layer", "kernel", "c_out", "n_filters", "n_kept", "conv_depth", "conv_depth_norm", "depth_from"),
    *_SCORES,
    "note",
)


def _trace(model: nn.Module, example: Tensor) -> Any:  # noqa: ANN401 - a Trace; naming it here would import torch
    from filterlens.errors import InputError
    from filterlens.extractors.depth import FORWARD_FAILURES, trace

    try:
        return trace(model, example)
    except FORWARD_FAILURES as error:
        raise InputError(f"the model does not take the example of shape {tuple(example.shape)}: {error}") from error


def _scores(weight: Tensor) -> dict[str, object]:
    from filterlens.analyzers.filters import score_layer
    from filterlens.errors import NonFiniteWeightError

    counts = {"c_out": weight.shape[0], "n_filters": weight.shape[0] * weight.shape[1]}
    try:
        scores = score_layer(weight)
    except NonFiniteWeightError as error:
        return {**counts, "n_kept": 0, **dict.fromkeys(_SCORES, math.nan), "note": str(error)}
    return {**counts, "n_kept": scores.n_kept, **{name: getattr(scores, name) for name in _SCORES}, "note": ""}
