"""What an attack changes in the first stage: the first convolution's output, filter by filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError

__all__ = ["RecordedStage", "read_stage", "relative_change"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RecordedStage:
    """A model's first stage on the same images, clean and attacked, as a dump holds it.

    Parameters
    ----------
    layer
        The first convolution.
    operations
        What ran, such as `conv2d, batch_norm, relu`.
    weight
        Shape (c_out, c_in / groups, k_h, k_w).
    clean, attacked
        Outputs, shape (n, c_out, h, w).
    """

    layer: str
    operations: str
    weight: Array
    clean: Array
    attacked: Array

    @property
    def change(self) -> Array:
        """Relative change of each filter, shape (c_out,)."""
        return relative_change(self.clean, self.attacked)


def relative_change(clean: Array, attacked: Array) -> Array:
    """‖r(x) − r(x̃)‖₂ / ‖r(x)‖₂ of each filter, maps flattened over every axis but the filters' (the second).

    Parameters
    ----------
    clean, attacked
        Outputs of the first stage, shape (n, c_out, h, w).

    Returns
    -------
        Shape (c_out,), at least 0; NaN for a filter that the clean images leave silent.

    References
    ----------
    [Gavrikov2022Lens]_, figure 9.

    Examples
    --------
    >>> relative_change(np.array([[[[3.0, 4.0]], [[0.0, 0.0]]]]), np.array([[[[3.0, 3.0]], [[1.0, 0.0]]]]))
    array([0.2, nan])
    """
    axes = (0, 2, 3)
    norm = np.sqrt((clean**2).sum(axis=axes))
    change = np.sqrt(((clean - attacked) ** 2).sum(axis=axes))
    ratio: Array = np.divide(change, norm, out=np.full_like(norm, np.nan), where=norm > 0)
    return ratio


def read_stage(group: DumpGroup) -> RecordedStage | None:
    """Read a robustness dump's first stage; None for a network without a convolution, and for dumps of before 0.2.

    Raises
    ------
    DumpError
        Its arrays do not belong together.
    """
    names = ("first_stage_weight", "first_stage_clean", "first_stage_attacked")
    if any(name not in group for name in names):
        return None
    weight, clean, attacked = (np.asarray(group.read(name), dtype=np.float64) for name in names)
    if clean.ndim != 4 or clean.shape != attacked.shape or weight.ndim != 4 or len(weight) != clean.shape[1]:
        raise DumpError(
            f"{group.path}: first stages of shapes {clean.shape} and {attacked.shape} do not belong to "
            f"{len(weight)} filters; extract again"
        )
    facts = group.attributes
    layer, operations = (str(facts.get(f"first_stage_{name}", "")) for name in ("layer", "operations"))
    return RecordedStage(layer, operations, weight, clean, attacked)
