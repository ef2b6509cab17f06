"""What is kept of a model's filters where a run stores no weights: those that the report shows."""

from __future__ import annotations

from typing import Final

import numpy as np

from filterlens.dumps import DumpGroup, WritableGroup

__all__ = ["keep"]

_SHOWN: Final = 1 << 18  # bytes of the last convolution: figures show its first sixteen kernels


def keep(group: DumpGroup, kept: WritableGroup) -> None:
    """Keep the first convolution whole, and of the last one as many output channels as 256 KiB hold.

    Parameters
    ----------
    group
        Every convolution, as the extractor writes it.
    kept
        Gets those at `conv_depth` 0 and `conv_depth_norm` 1 with their attributes, and `c_out` of the whole. One that
        holds NaN or Inf is not shown, and not kept.
    """
    for name in group.names():
        facts = group.attributes_of(name)
        first, last = facts.get("conv_depth") == 0, facts.get("conv_depth_norm") == 1
        if not (first or last):
            continue
        weight = group.read(name)
        if not np.isfinite(weight).all():
            continue
        rows = len(weight) if first else max(1, _SHOWN // max(1, weight[:1].nbytes))
        kept.write(name, weight[:rows], **{**facts, "c_out": len(weight)})
