"""ONNX networks: the weights by layer name, and a network that runs where onnx2torch knows every operation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from onnx import GraphProto, NodeProto
from torch import Tensor

from filterlens.errors import CheckpointError
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.onnx_convert import build_network
from filterlens.loaders.onnx_file import read_onnx
from filterlens.loaders.onnx_names import LAYERS, constants, layer_names
from filterlens.loaders.onnx_tensors import to_torch
from filterlens.loaders.registry import Request
from filterlens.loaders.weights import check_weights, file_digest, to_eval

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
            network = build_network(model, names)
        except Exception as error:  # noqa: BLE001 - onnx2torch raises anything on what it does not know
            said = (str(error).splitlines() or [""])[0][:200]
            said = said if isinstance(error, CheckpointError) else f"{type(error).__name__}: {said}"
            notes = (*notes, f"weights only: its graph cannot be run ({said})")
        else:
            classifier = Classifier(to_eval(network), request.entry.mean, request.entry.std)
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
            raise CheckpointError(f"layer {name!r} of {path} is quantised: export the network before it is quantised")


def _weights(graph: GraphProto, names: list[str], path: Path) -> dict[str, Tensor]:
    """Tensors by layer, without running the graph."""
    known = constants(graph)
    weights: dict[str, Tensor] = {}
    for node, name in zip(graph.node, names, strict=True):
        for parameter, value in zip(LAYERS.get(node.op_type, ()), node.input[1:], strict=False):
            if value in known:
                tensor = to_torch(known[value], path)
                transposed = node.op_type == "Gemm" and parameter == "weight" and not _integer(node, "transB", 0)
                weights[f"{name}.{parameter}"] = tensor.T if transposed else tensor
    return weights


def _integer(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _notes(graph: GraphProto) -> tuple[str, ...]:
    """Say where BatchNorm was probably folded into convolutions: their filters are then scaled."""
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.output]
    normalised = {node.input[0] for node in graph.node if node.op_type.endswith("Normalization") and node.input}
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
