"""ONNX files: read, checked before any byte of a tensor is believed, and their layers named."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, external_data_helper, helper
from onnx.external_data_helper import ExternalDataInfo

from filterlens.errors import CheckpointError

__all__ = ["LAYERS", "constants", "layer_names", "read_onnx"]

_MAX_VALUES: Final = 1 << 33
#: Operations with weights, and what torch calls their inputs after the first.
LAYERS: Final = {
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "Conv": ("weight", "bias"),
    "ConvTranspose": ("weight", "bias"),
    "Gemm": ("weight", "bias"),
}
_LEGACY_NAME: Final = re.compile(r"[A-Z][A-Za-z]*_\d+")


def read_onnx(path: Path) -> ModelProto:
    """Read an ONNX file; external data must lie in its folder and be as long as the shapes say.

    Raises
    ------
    CheckpointError
        It is damaged, lies about a tensor, or points out of its folder.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path} is no ONNX file that can be read ({error}): export it again") from error
    if not model.graph.node:
        raise CheckpointError(f"{path} is no ONNX file, or one without nodes: export it again")
    for tensor in _tensors(model.graph):
        _check_tensor(tensor, path)
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, RuntimeError, MemoryError, onnx.checker.ValidationError) as error:
        raise CheckpointError(f"{path}: its external data cannot be read ({error}): keep its files together") from error
    _point_at_initialisers(model.graph)
    return model


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        yield current
        for node in current.node:
            for attribute in node.attribute:
                waiting.extend(attribute.graphs)
                if attribute.HasField("g"):
                    waiting.append(attribute.g)


def _tensors(root: GraphProto) -> Iterator[TensorProto]:
    for graph in _graphs(root):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
        for node in graph.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                if attribute.HasField("t"):
                    yield attribute.t


def _check_tensor(tensor: TensorProto, path: Path) -> None:
    shape = tuple(tensor.dims)
    if any(length < 0 for length in shape) or (count := math.prod(shape)) > _MAX_VALUES:
        raise CheckpointError(f"{path}: tensor {tensor.name!r} declares the shape {shape}: it is damaged or hostile")
    try:
        bits = 4 if "INT4" in TensorProto.DataType.Name(tensor.data_type) else 8 * _itemsize(tensor)
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: tensor {tensor.name!r} has no known type ({tensor.data_type})") from error
    expected = (count * bits + 7) // 8
    if tensor.data_location == TensorProto.EXTERNAL:
        _check_external(tensor, path, expected)
    elif tensor.raw_data and len(tensor.raw_data) != expected:
        raise CheckpointError(
            f"{path}: tensor {tensor.name!r} of shape {shape} needs {expected} bytes and has {len(tensor.raw_data)}"
        )


def _itemsize(tensor: TensorProto) -> int:
    return 1 if tensor.data_type == TensorProto.STRING else helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _check_external(tensor: TensorProto, path: Path, expected: int) -> None:
    try:
        info = ExternalDataInfo(tensor)
        offset, length = info.offset or 0, info.length or expected
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: tensor {tensor.name!r} has damaged external data ({error})") from error
    folder = path.parent.resolve()
    file = folder / info.location
    if "\0" in info.location or not info.location or folder not in file.resolve().parents or file.is_symlink():
        raise CheckpointError(
            f"{path}: tensor {tensor.name!r} points out of its folder (to {info.location!r}): it is not followed"
        )
    if not file.is_file():
        raise CheckpointError(f"{path}: the external data {info.location!r} is missing: keep the files together")
    if offset < 0 or length != expected or offset + length > file.stat().st_size:
        raise CheckpointError(
            f"{path}: tensor {tensor.name!r} of shape {tuple(tensor.dims)} needs {expected} bytes, and "
            f"{info.location!r} does not hold them at {offset}: the files do not belong together"
        )


def _point_at_initialisers(graph: GraphProto) -> None:
    """Let layers name their weights themselves where these come through Constant or Identity nodes."""
    known = constants(graph)
    made = {output: node for node in graph.node for output in node.output if node.op_type in {"Constant", "Identity"}}
    for node in graph.node:
        if node.op_type not in LAYERS:
            continue
        for place, name in enumerate(node.input):
            seen: set[str] = set()
            while name in made and name not in seen and made[name].op_type == "Identity":
                seen.add(name)
                name = made[name].input[0]  # noqa: PLW2901 - walking up
            if name in made and len(attributes := made[name].attribute) == 1 and attributes[0].HasField("t"):
                held = f"{name}.constant"
                if held not in known:
                    tensor = graph.initializer.add()
                    tensor.CopyFrom(attributes[0].t)
                    tensor.name = held
                    known[held] = tensor
                name = held  # noqa: PLW2901 - likewise
            if place and name in known:
                node.input[place] = name


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Return every initialiser by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def layer_names(graph: GraphProto) -> list[str]:
    """Name every node as the exporting network named its layer, where the file still tells.

    In this order: the node's own name where the older exporter numbered it (`Conv_0`); the stem of its weight's
    name (`layer1.0.conv1` of `layer1.0.conv1.weight`); the modules in its path (`/layer1/layer1.0/conv1/Conv`);
    its name; its output's name.

    Returns
    -------
        One name a node, no two alike, none below another's.
    """
    weights = {tensor.name for tensor in graph.initializer}
    names: list[str] = []
    taken: set[str] = set()
    for node in graph.node:
        name = _layer_name(node, weights)
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f"{name}_{count}"
        taken.add(unique)
        names.append(unique)
    return names


def _layer_name(node: NodeProto, weights: set[str]) -> str:
    if _LEGACY_NAME.fullmatch(node.name):
        return node.name
    own = [name for name in node.input[1:] if name in weights]
    if own and own[0].endswith(".weight"):
        return _safe(own[0].removesuffix(".weight"))
    if "/" in node.name:
        parts: list[str] = []
        for part in node.name.strip("/").split("/"):
            if parts and part.startswith(f"{parts[-1]}."):
                parts.pop()
            parts.append(part)
        has_layer = len(parts) > 1 and own
        return _safe(".".join(parts[:-1] if has_layer else parts))
    return _safe(node.name or (node.output[0] if node.output else "") or node.op_type)


def _safe(name: str) -> str:
    """Keep a name that torch accepts as a module's path: no empty parts."""
    return ".".join(part for part in name.replace("/", ".").split(".") if part) or "layer"
