"""ONNX networks: the weights by layer name, and a network that runs where onnx2torch knows every operation."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import onnx2torch
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx2torch.node_converters.slice import OnnxSlice
from torch import Tensor, fx, nn

from filterlens.errors import CheckpointError
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.onnx_file import LAYERS, constants, layer_names, read_onnx
from filterlens.loaders.registry import Request
from filterlens.loaders.weights import check_weights, file_digest, ready

__all__ = ["load_onnx"]

_CONVOLUTIONS: Final = {"Conv", "ConvTranspose"}
_QUANTISED: Final = {"QLinearConv", "ConvInteger", "DequantizeLinear"}


def load_onnx(path: Path, request: Request) -> LoadedModel:
    """Load an ONNX file.

    Parameters
    ----------
    path
        The file.
    request
        With `weights_only`, nothing is converted.

    Returns
    -------
        Layers carry the names of `layer_names`; where an operation is unknown, only the weights.

    Raises
    ------
    CheckpointError
        The file is damaged, or its convolutions are quantised.
    """
    model = read_onnx(path)
    names = layer_names(model.graph)
    _check_quantised(model.graph, names, path)
    weights = _weights(model.graph, names, path)
    check_weights(weights, str(path))
    notes = _notes(model.graph)
    input_size = _input_size(model.graph)
    classifier = None
    if not request.weights_only:
        try:
            network = _convert(model, names)
        except (
            NotImplementedError,
            RuntimeError,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            IndexError,
        ) as error:
            said = (str(error).splitlines() or [""])[0][:200]
            notes = (*notes, f"weights only: onnx2torch cannot convert it ({type(error).__name__}: {said})")
        else:
            classifier = Classifier(ready(network), request.entry.mean, request.entry.std)
            # the network's own tensors: the same values, held once
            held = network.state_dict()
            weights = {key: held.get(key, value) for key, value in weights.items()}
    return LoadedModel(
        model_id=request.entry.model_id,
        source=request.entry.source,
        sha256=file_digest(path),
        weights=weights,
        classifier=classifier,
        input_size=input_size,
        notes=notes,
    )


def _check_quantised(graph: GraphProto, names: list[str], path: Path) -> None:
    dequantised = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    for node, name in zip(graph.node, names, strict=True):
        if node.op_type in _QUANTISED - {"DequantizeLinear"} or (
            node.op_type in _CONVOLUTIONS and len(node.input) > 1 and node.input[1] in dequantised
        ):
            raise CheckpointError(f"layer {name} of {path} is quantised: export the network before it is quantised")


def _weights(graph: GraphProto, names: list[str], path: Path) -> dict[str, Tensor]:
    """Tensors by layer, without running the graph."""
    known = constants(graph)
    weights: dict[str, Tensor] = {}
    for node, name in zip(graph.node, names, strict=True):
        for parameter, value in zip(LAYERS.get(node.op_type, ()), node.input[1:], strict=False):
            if value in known:
                tensor = _tensor(known[value], path)
                transposed = node.op_type == "Gemm" and parameter == "weight" and not _integer(node, "transB", 0)
                weights[f"{name}.{parameter}"] = tensor.T if transposed else tensor
    return weights


def _tensor(proto: TensorProto, path: Path) -> Tensor:
    try:
        # copied: the buffer of a protobuf message cannot be written
        return torch.from_numpy(numpy_helper.to_array(proto).copy())
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: tensor {proto.name!r} cannot be read ({error})") from error


def _integer(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _notes(graph: GraphProto) -> tuple[str, ...]:
    """Say where BatchNorm was probably folded into convolutions: their filters are then scaled."""
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    normalised = {node.input[0] for node in graph.node if node.op_type.endswith("Normalization")}
    folded = sum(len(node.input) > 2 and node.output[0] not in normalised for node in convolutions)
    if not folded:
        return ()
    return (
        f"{folded} of {len(convolutions)} convolutions have a bias and no normalisation after them: "
        "BatchNorm was probably folded into their filters",
    )


def _input_size(graph: GraphProto) -> tuple[int, int, int] | None:
    known = constants(graph)
    inputs = [value for value in graph.input if value.name not in known]
    if len(inputs) != 1:
        return None
    shape = [dimension.dim_value for dimension in inputs[0].type.tensor_type.shape.dim]
    return (shape[1], shape[2], shape[3]) if len(shape) == 4 and min(shape[1:]) > 0 else None


def _free_batch(graph: GraphProto) -> None:
    """Let a graph exported for one image take any number: a reshape that writes that 1 down copies it instead."""
    known = constants(graph)
    inputs = [value for value in graph.input if value.name not in known]
    if len(inputs) != 1 or not inputs[0].type.tensor_type.shape.dim:
        return
    batch = inputs[0].type.tensor_type.shape.dim[0]
    if batch.dim_value != 1:
        return
    batch.dim_param = "batch"
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[0] not in known and node.input[1] in known:
            shape = numpy_helper.to_array(known[node.input[1]]).copy()
            if shape.size > 1 and shape[0] == 1:
                shape[0] = 0
                known[node.input[1]].CopyFrom(numpy_helper.from_array(shape, node.input[1]))
    # shapes inferred for one image no longer hold
    del graph.value_info[:]


class _Slice(nn.Module):
    """ONNX Slice; onnx2torch's own indexes with lists, which torch no longer accepts quietly."""

    def forward(
        self, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
    ) -> Tensor:
        where = range(len(starts)) if axes is None else axes.tolist()
        strides = [1] * len(starts) if steps is None else steps.tolist()
        for start, end, axis, step in zip(starts.tolist(), ends.tolist(), where, strides, strict=True):
            if step > 0:
                x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
            else:
                chosen = range(x.shape[axis])[start:end:step]
                x = x.index_select(axis, torch.tensor(chosen, dtype=torch.long, device=x.device))
        return x


def _convert(model: ModelProto, names: list[str]) -> nn.Module:
    """Build the network, its modules named like the layers."""
    _free_batch(model.graph)
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = onnx2torch.convert(model)
    renamed = {f"node{number}": name for number, name in enumerate(names)}
    named = nn.Module()
    if (held := dict(converted.named_children()).get("initializers")) is not None:
        named.add_module("initializers", held)
    graph = converted.graph
    for node in list(graph.nodes):
        if node.op != "call_module":
            continue
        module = converted.get_submodule(str(node.target))
        name = renamed[str(node.target).rpartition("/")[2]]
        if isinstance(module, OnnxSlice):
            module = _Slice()
        if isinstance(module, nn.Sequential) and len(module) == 2:
            # an uneven padding comes before its convolution: two calls, so that the layer keeps its name
            _place(named, f"{name}_padding", module[0])
            with graph.inserting_before(node):
                padded = graph.call_module(f"{name}_padding", node.args)
            node.args = (padded,)
            module = module[1]
        _place(named, name, module)
        node.target = name
    result = fx.GraphModule(named, graph)
    graph.lint()
    return result


def _place(root: nn.Module, name: str, module: nn.Module) -> None:
    *parents, last = name.split(".")
    for part in parents:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    for child, below in root.get_submodule(last).named_children() if last in dict(root.named_children()) else ():
        module.add_module(child, below)
    root.add_module(last, module)
