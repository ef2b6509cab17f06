"""From an ONNX graph to a network: every node becomes onnx2torch's module for it."""

from __future__ import annotations

import warnings
from typing import Final

import torch
from onnx import GraphProto, ModelProto, helper, numpy_helper, shape_inference
from onnx2torch.node_converters import get_converter
from onnx2torch.node_converters.slice import OnnxSlice
from onnx2torch.onnx_graph import OnnxGraph
from torch import Tensor, nn

from filterlens.errors import CheckpointError
from filterlens.loaders.onnx_budget import MemoryBudget
from filterlens.loaders.onnx_names import constants, with_generated_names
from filterlens.loaders.onnx_network import OnnxNetwork
from filterlens.loaders.onnx_tensors import nbytes

__all__ = ["build_network"]

_SMALL: Final = 1 << 12
_SPARE_BYTES: Final = 1 << 30
_MAX_WORK: Final = 10**12
_MAX_NODES: Final = 10_000
#: Operations whose result is as large as the values of some inputs say, and the first such input.
_SIZED_BY_VALUES: Final = {
    "ConstantOfShape": 0,
    "Expand": 1,
    "NonMaxSuppression": 0,
    "NonZero": 0,
    "Pad": 1,
    "Range": 0,
    "ReduceSum": 1,
    "Reshape": 1,
    "Resize": 1,
    "Slice": 1,
    "Split": 1,
    "Squeeze": 1,
    "Tile": 1,
    "TopK": 1,
    "Unsqueeze": 1,
}


def build_network(model: ModelProto, names: list[str]) -> nn.Module:
    """Build the network, its modules named like the layers.

    Parameters
    ----------
    model
        Its tensors move into the network: it is not to be used again.
    names
        One a node, as `layer_names` gives them.

    Raises
    ------
    CheckpointError
        An operation is unknown, its size depends on an image's values, or there are too many.
    KeyError, TypeError, ValueError, …
        Whatever onnx2torch and torch raise at a graph that makes no sense.
    """
    if len(model.graph.node) > _MAX_NODES:
        raise CheckpointError(f"{len(model.graph.node):,} nodes where {_MAX_NODES:,} make a network")
    _free_batch(model.graph)
    plain = with_generated_names(model)
    _check_sizes(plain.graph)
    _infer_shapes(plain)
    graph, version = OnnxGraph(plain.graph), plain.opset_import[0].version
    network = OnnxNetwork(graph.input_values, graph.output_values)
    made = set(graph.input_values)
    taken = set(names)
    most = 4 * sum(nbytes(tensor) for tensor in plain.graph.initializer) + _SPARE_BYTES
    with warnings.catch_warnings(), MemoryBudget(most, _MAX_WORK, "building this network"):
        warnings.simplefilter("ignore")
        for node, name in zip(graph.nodes.values(), names, strict=True):
            module, mapping = get_converter(node.operation_type, version)(node, graph)
            inputs = list(mapping.inputs)
            for value in inputs:
                if value in graph.initializers and value not in made:
                    network.add_constant(value, graph.initializers[value].to_torch())
            if isinstance(module, OnnxSlice):
                module = _Slice()
            if isinstance(module, nn.Sequential) and len(module) == 2:
                # an uneven padding comes before its convolution: two calls, so that the layer keeps its name
                padding = f"{name}_padding"
                while padding in taken:
                    padding += "_"
                taken.add(padding)
                network.add_step(padding, network.place(padding, module[0]), inputs, [padding])
                inputs, module = [padding], module[1]
            network.add_step(name, network.place(name, module), inputs, node.output_values)
            made.update(node.output_values)
        for value in graph.output_values:
            if value in graph.initializers and value not in made:
                network.add_constant(value, graph.initializers[value].to_torch())
    network.finish()
    return network


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
        if node.op_type == "Reshape" and len(node.input) > 1 and node.input[0] not in known and node.input[1] in known:
            shape = numpy_helper.to_array(known[node.input[1]]).copy()
            if shape.size > 1 and shape[0] == 1:
                shape[0] = 0
                known[node.input[1]].CopyFrom(numpy_helper.from_array(shape, node.input[1]))
    # shapes inferred for one image no longer hold
    del graph.value_info[:]


def _check_sizes(graph: GraphProto) -> None:
    """Refuse graphs in which an image's values decide how large something becomes: no budget could be kept."""
    from_image = {value.name for value in graph.input}
    for node in graph.node:
        first = _SIZED_BY_VALUES.get(node.op_type)
        if first is not None and not from_image.isdisjoint(node.input[first:]):
            raise CheckpointError(f"how large the result of {node.op_type} is depends on the image")
        if node.op_type != "Shape" and not from_image.isdisjoint(node.input):
            from_image.update(node.output)


def _infer_shapes(model: ModelProto) -> None:
    """Note the shape of every value; weights are not copied for it."""
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = model.graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    for tensor in model.graph.initializer:
        if nbytes(tensor) <= _SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        inferred = shape_inference.infer_shapes(light)
    except shape_inference.InferenceError as error:  # no kind of RuntimeError
        raise ValueError(str(error)) from error
    del model.graph.value_info[:]
    model.graph.value_info.extend(inferred.graph.value_info)


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
