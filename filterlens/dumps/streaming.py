"""Arrays of a dump that are filled batch by batch, in half precision as long as it holds them."""

from __future__ import annotations

from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from filterlens.dumps.writing import Attribute, WritableGroup

__all__ = ["FloatStream"]

_FLOAT16_RANGE: Final = (1e-3, 65504.0)  # a batch whose largest value lies outside is kept in float32


class FloatStream:
    """An array filled along its first axis: float16, or float32 from the first batch on that does not fit into it.

    Parameters
    ----------
    group
        Where it is written.
    name
        Its name.
    shape
        Of the whole array.
    attributes
        Its attributes.
    """

    def __init__(self, group: WritableGroup, name: str, shape: tuple[int, ...], **attributes: Attribute) -> None:
        self._group, self._name = group, name
        self._attributes: dict[str, Any] = attributes
        self.shape = shape
        self.written = 0
        self._dataset: h5py.Dataset | None = None

    def write(self, rows: slice, values: NDArray[np.float32]) -> None:
        """Fill rows; what was written before is widened where these values need float32."""
        narrow = _fits_float16(values)
        if self._dataset is None:
            dtype = "float16" if narrow else "float32"
            self._dataset = self._group.stream(self._name, self.shape, dtype, **self._attributes)
        elif self._dataset.dtype == np.float16 and not narrow:
            self._dataset = self._group.widen(self._name, "float32")
        self._dataset[rows] = values.astype(self._dataset.dtype)  # HDF5's own conversion to half precision is slow
        self.written += len(values)


def _fits_float16(values: NDArray[Any]) -> bool:
    largest = float(np.abs(values).max(initial=0))
    return largest == 0 or _FLOAT16_RANGE[0] <= largest <= _FLOAT16_RANGE[1]
