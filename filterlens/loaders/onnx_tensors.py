"""Tensors in ONNX files: as large as they say, and read as the numbers that they stand for."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from filterlens.errors import CheckpointError

__all__ = ["NARROW_FLOATS", "check_tensor", "nbytes", "to_torch", "widen"]

_MAX_VALUES: Final = 1 << 33
_MAX_RANK: Final = 32
#: Types that torch's networks do not compute with, or NumPy lacks: their values are float32 numbers, exactly.
NARROW_FLOATS: Final = {
    TensorProto.BFLOAT16,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
}
_BITS: Final = {"FLOAT": 32, "DOUBLE": 64, "BOOL": 8, "STRING": 8}


def nbytes(tensor: TensorProto) -> int:
    """How many bytes a tensor's values take, from its type and shape.

    Raises
    ------
    ValueError
        The type is unknown.
    """
    kind = TensorProto.DataType.Name(tensor.data_type)  # FLOAT16, UINT4, BFLOAT16, FLOAT8E5M2, …
    digits = re.search(r"\d+", kind)
    if kind not in _BITS and digits is None:
        raise ValueError(f"tensors of the type {kind} have no size")
    bits = _BITS.get(kind) or int(digits[0] if digits else 0)
    return int(math.prod(tensor.dims) * bits + 7) // 8


def check_tensor(tensor: TensorProto, path: Path) -> int:
    """Check that a tensor's shape is one, and that the file holds as many values as it says.

    Returns
    -------
        Its size in bytes; external data are not looked at.

    Raises
    ------
    CheckpointError
        It is damaged or hostile.
    """
    shape = tuple(tensor.dims[: _MAX_RANK + 1])
    if len(shape) > _MAX_RANK:
        raise CheckpointError(
            f"{path}: tensor {tensor.name!r} declares the shape of {len(tensor.dims)} dimensions where {_MAX_RANK} "
            "are allowed: it is damaged or hostile"
        )
    if any(length < 0 for length in shape) or math.prod(shape) > _MAX_VALUES:
        raise CheckpointError(f"{path}: tensor {tensor.name!r} declares the shape {shape}: it is damaged or hostile")
    try:
        expected = nbytes(tensor)
    except ValueError as error:
        raise CheckpointError(f"{path}: tensor {tensor.name!r} has no known type ({tensor.data_type})") from error
    if tensor.data_location == TensorProto.EXTERNAL:
        return expected
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != expected:
            raise CheckpointError(
                f"{path}: tensor {tensor.name!r} of shape {shape} needs {expected} bytes and has {len(tensor.raw_data)}"
            )
        return expected
    field = helper.tensor_dtype_to_field(tensor.data_type)
    found, needed = len(getattr(tensor, field)), _entries(tensor)
    if found != needed:
        raise CheckpointError(
            f"{path}: tensor {tensor.name!r} of shape {shape} needs {needed} values in {field} and has {found}"
        )
    return expected


def _entries(tensor: TensorProto) -> int:
    """How many entries the typed field has: two for a complex number, one for two numbers of 4 bits."""
    count = int(math.prod(tensor.dims))
    kind = TensorProto.DataType.Name(tensor.data_type)
    if kind.startswith("COMPLEX"):
        return 2 * count
    packed = re.fullmatch(r"U?INT([24])|FLOAT4E2M1", kind)
    return -(-count // (8 // int(packed[1] or 4))) if packed else count


def widen(tensor: TensorProto) -> None:
    """Turn bfloat16 and float8 values into the same numbers in float32, in place."""
    if tensor.data_type not in NARROW_FLOATS:
        return
    values = numpy_helper.to_array(tensor).astype(np.float32)
    for field in ("raw_data", "int32_data"):
        tensor.ClearField(field)
    tensor.data_type = TensorProto.FLOAT
    tensor.raw_data = values.astype("<f4").tobytes()


def to_torch(tensor: TensorProto, path: Path) -> Tensor:
    """Return a tensor's values.

    Raises
    ------
    CheckpointError
        Torch has none of that type.
    """
    try:
        # copied: the buffer of a protobuf message cannot be written
        return torch.from_numpy(numpy_helper.to_array(tensor).copy())
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: tensor {tensor.name!r} cannot be read ({error})") from error
