"""The downsampling lens: from dense maps to rows of the score table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.lens import score_rows
from filterlens.lenses.downsampling.scores import Operation

__all__ = ["analyze", "operation_rows"]

_BATCH_SAMPLES = 1 << 22  # of a dump's maps at once: 16 MB in float32


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score every downsampling operation of a dump.

    Parameters
    ----------
    group
        The dump's `downsampling` part: dense maps, shape (images, channels, s_h H, s_w W).

    Returns
    -------
        One row an operation and metric. Shortcuts (1x1) have weight 0, so that the model's weighted mean is the mean
        over `main` and `pool`. `conv_depth` is the operation's place in execution order.

    Raises
    ------
    DumpError
        An operation lacks its attributes, or its maps do not fit them.
    """
    return list(_rows(group))


def _rows(group: DumpGroup) -> Iterator[dict[str, object]]:
    for place, layer in enumerate(group.names()):
        operation = _operation(group, layer, place)
        size = max(1, _BATCH_SAMPLES // max(1, int(np.prod(group.shape(layer)[1:]))))
        for batch in group.batches(layer, size):
            operation.add(torch.from_numpy(batch))
        yield from operation_rows(operation)


def operation_rows(operation: Operation) -> Iterator[dict[str, object]]:
    """Rows of one operation for the score table."""
    for row in score_rows("downsampling", operation):
        finite = row["value"] == row["value"]
        yield {
            "layer": operation.layer,
            "kind": operation.kind,
            "conv_depth": float(operation.place),
            **row,
            "note": "" if finite else "skipped: the dense map holds NaN or Inf",
        }


def _operation(group: DumpGroup, layer: str, place: int) -> Operation:
    attributes, shape = group.attributes_of(layer), group.shape(layer)
    try:
        kind = str(attributes["kind"])
        s_h, s_w = (int(step) for step in attributes["stride"])
    except (KeyError, TypeError, ValueError) as error:
        raise DumpError(f"{group.path}: {layer!r} lacks the attributes kind and stride; extract again") from error
    if len(shape) != 4 or min(s_h, s_w) < 1 or shape[2] % s_h or shape[3] % s_w:
        raise DumpError(f"{group.path}: {layer!r} has shape {shape}, no dense map of stride {s_h}x{s_w}; extract again")
    return Operation(layer, kind, (s_h, s_w), place)
