"""ONNX files: read, and checked before any byte of a tensor is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, TensorProto, external_data_helper

from filterlens.errors import CheckpointError
from filterlens.loaders.onnx_names import LAYERS, constants
from filterlens.loaders.onnx_tensors import check_tensor, nbytes, widen

__all__ = ["read_onnx"]

_MAX_NODES: Final = 100_000
_MAX_NAME: Final = 1_000
_MAX_PARTS: Final = 100
_SPARE_BYTES: Final = 1 << 30


def read_onnx(path: Path) -> ModelProto:
    """Read an ONNX file; external data must lie in its folder and be as long as the shapes say.

    Raises
    ------
    CheckpointError
        It is damaged, lies about a tensor, points out of its folder, or is larger in use than in the file.
    """
    try:
        model = ModelProto()
        model.ParseFromString(path.read_bytes())
    except (DecodeError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path} is no ONNX file that can be read ({error}): export it again") from error
    if not model.graph.node:
        raise CheckpointError(f"{path} is no ONNX file, or one without nodes: export it again")
    if len(model.graph.node) > _MAX_NODES:
        raise CheckpointError(f"{path} has {len(model.graph.node):,} nodes: at most {_MAX_NODES:,} are read")
    _check_names(model.graph, path)
    tensors = list(_tensors(model.graph))
    sizes = {id(tensor): check_tensor(tensor, path) for tensor in tensors}
    external = [tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]
    _check_external(external, [sizes[id(tensor)] for tensor in external], path)
    try:
        for tensor in external:
            external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
    except (OSError, ValueError, RuntimeError, MemoryError, onnx.checker.ValidationError) as error:
        raise CheckpointError(f"{path}: its external data cannot be read ({error}): keep its files together") from error
    _point_at_initialisers(model.graph)
    _check_uses(model.graph, path)
    for tensor in _tensors(model.graph):
        widen(tensor)
    return model


def _check_names(graph: GraphProto, path: Path) -> None:
    """Refuse names that are no text, or too long to be a layer's."""
    for node in graph.node:
        for name in (node.name, node.op_type, node.domain, *node.input, *node.output):
            _check_name(name, path)
    for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        _check_name(value.name, path)


def _check_name(name: str | bytes, path: Path) -> None:
    if not isinstance(name, str):  # protobuf's answer to what is no UTF-8
        raise CheckpointError(f"{path} holds the name {name[:40]!r}, which is no text: export it again")
    if len(name) > _MAX_NAME or name.count("/") + name.count(".") > _MAX_PARTS:
        raise CheckpointError(
            f"{path} holds a name of {len(name):,} characters ({name[:40]!r}…): "
            f"at most {_MAX_NAME:,}, in at most {_MAX_PARTS} parts, are read"
        )


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


def _check_external(tensors: list[TensorProto], sizes: list[int], path: Path) -> None:
    """Check where external data lie before any of them are read: many tensors can name the same bytes."""
    files: dict[Path, int] = {}
    for tensor, size in zip(tensors, sizes, strict=True):
        file = _external_file(tensor, path, size)
        files[file] = file.stat().st_size
    if sum(sizes) > 2 * sum(files.values()):
        raise CheckpointError(
            f"{path}: its tensors take {sum(sizes):,} bytes of external data where the files hold "
            f"{sum(files.values()):,}: it is damaged or hostile"
        )


def _external_file(tensor: TensorProto, path: Path, expected: int) -> Path:
    told = {entry.key: entry.value for entry in tensor.external_data}
    location = told.get("location", "")
    try:
        offset, length = int(told.get("offset", 0)), int(told.get("length", expected))
        folder = path.parent.resolve()
        file: Path = folder / location
        outside = "\0" in location or not location or folder not in file.resolve().parents or file.is_symlink()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: tensor {tensor.name!r} has damaged external data ({error})") from error
    if outside:
        raise CheckpointError(
            f"{path}: tensor {tensor.name!r} points out of its folder (to {location!r}): it is not followed"
        )
    if not file.is_file():
        raise CheckpointError(f"{path}: the external data {location!r} is missing: keep the files together")
    if offset < 0 or length != expected or offset + length > file.stat().st_size:
        raise CheckpointError(
            f"{path}: tensor {tensor.name!r} of shape {tuple(tensor.dims)} needs {expected} bytes, and "
            f"{location!r} does not hold them at {offset}: the files do not belong together"
        )
    return file


def _check_uses(graph: GraphProto, path: Path) -> None:
    """Refuse layers that share a few weights so often that copies of them would not fit: each layer has its own."""
    sizes = {name: nbytes(tensor) for name, tensor in constants(graph).items()}
    used = sum(sizes.get(name, 0) for node in graph.node for name in node.input)
    if used > 4 * sum(sizes.values()) + _SPARE_BYTES:
        raise CheckpointError(
            f"{path}: its nodes use {used:,} bytes of weights where it holds {sum(sizes.values()):,}: "
            "it is damaged or hostile"
        )


def _point_at_initialisers(graph: GraphProto) -> None:
    """Let layers name their weights themselves where these come through Constant or Identity nodes."""
    known = constants(graph)
    made: dict[str, TensorProto] = {}
    origin: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Identity" and node.input and node.output:
            origin[node.output[0]] = origin.get(node.input[0], node.input[0])
        elif node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].HasField("t"):
            made.update(dict.fromkeys(node.output, node.attribute[0].t))
        elif node.op_type in LAYERS:
            for place, given in enumerate(node.input):
                name = origin.get(given, given)
                if name in made:
                    held = f"{name}.constant"
                    if held not in known:
                        known[held] = graph.initializer.add()
                        known[held].CopyFrom(made[name])
                        known[held].name = held
                    name = held
                if place and name in known:
                    node.input[place] = name
