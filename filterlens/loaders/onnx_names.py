"""Names in ONNX files: layers' names for people, and generated ones for the code that builds the network.

A name is whatever the file's author wrote. None reaches onnx2torch, or anything else that could take it for more than
a name: every value is called `value0`, `value1`, …, and what is no standard operation with its own attributes stops the
building of a network.
"""

from __future__ import annotations

import re
from typing import Final

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from filterlens.errors import CheckpointError
from filterlens.loaders.onnx_tensors import NARROW_FLOATS

__all__ = ["LAYERS", "constants", "layer_names", "with_generated_names"]

#: Operations with weights, and what torch calls their inputs after the first.
LAYERS: Final = {
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "Conv": ("weight", "bias"),
    "ConvTranspose": ("weight", "bias"),
    "Gemm": ("weight", "bias"),
}
#: Two spellings of the standard's own domain.
DOMAINS: Final = ("", "ai.onnx")
_LEGACY_NAME: Final = re.compile(r"[A-Z][A-Za-z]*_\d+")
_KINDS: Final = {
    AttributeProto.INT: "i",
    AttributeProto.FLOAT: "f",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.INTS: "ints",
    AttributeProto.FLOATS: "floats",
    AttributeProto.STRINGS: "strings",
}


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Return every initialiser by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def layer_names(graph: GraphProto) -> list[str]:
    """Name every node as the exporting network named its layer, where the file still holds that name.

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
    counts: dict[str, int] = {}  # kept from node to node: thousands of nodes may share a name
    for node in graph.node:
        name = unique = _layer_name(node, weights)
        while unique in taken:
            counts[name] = counts.get(name, 1) + 1
            unique = f"{name}_{counts[name]}"
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


def with_generated_names(model: ModelProto) -> ModelProto:
    """Keep of a model what building its network takes, under generated names.

    Parameters
    ----------
    model
        Its tensors move into the result: it is not to be used again.

    Returns
    -------
        Nodes in the same order, all of the standard's domain, with the attributes of their own operation. No
        function, subgraph, sparse tensor, comment or metadata.

    Raises
    ------
    CheckpointError
        A node is no standard operation, or uses what cannot be renamed.
    """
    version = max((known.version for known in model.opset_import if known.domain in DOMAINS), default=0)
    plain = ModelProto(ir_version=model.ir_version)
    plain.opset_import.add(domain="", version=version)
    plain.graph.name = "graph"
    if not all(value.name for value in (*model.graph.input, *model.graph.output)):
        raise CheckpointError("an input or output of the graph has no name")
    names: dict[str, str] = {"": ""}  # an input that is left out

    def generated(name: str) -> str:
        return names.setdefault(name, f"value{len(names)}")

    for node in model.graph.node:
        _add_node(plain.graph, node, version)
        plain.graph.node[-1].input.extend(generated(name) for name in node.input)
        plain.graph.node[-1].output.extend(generated(name) for name in node.output)
    known = constants(model.graph)
    for value in model.graph.input:
        if value.name not in known:
            _add_value(plain.graph.input.add(), value, generated(value.name))
    for value in model.graph.output:
        _add_value(plain.graph.output.add(), value, generated(value.name))
    for name, tensor in known.items():
        if name and name in names:
            _move_tensor(tensor, plain.graph.initializer.add(name=names[name]))
    for value in model.graph.value_info:
        if value.name in names:
            _add_value(plain.graph.value_info.add(), value, generated(value.name))
    return plain


def _add_node(graph: GraphProto, node: NodeProto, version: int) -> None:
    if node.domain not in DOMAINS or not onnx.defs.has(node.op_type, ""):
        raise CheckpointError(f"{node.op_type!r} of {node.domain!r} is no operation of the ONNX standard")
    try:
        schema = onnx.defs.get_schema(node.op_type, max_inclusive_version=version, domain="")
    except onnx.defs.SchemaError as error:
        raise CheckpointError(f"{node.op_type} is no operation of version {version} of the standard") from error
    added = graph.node.add(op_type=schema.name, name=f"node{len(graph.node)}")
    for attribute in node.attribute:
        if attribute.name not in schema.attributes:
            raise CheckpointError(f"{schema.name} has no attribute {attribute.name!r}")
        field = _KINDS.get(attribute.type)
        if field is None or attribute.ref_attr_name:
            raise CheckpointError(f"the attribute {attribute.name} of {schema.name} is no number, text or tensor")
        kept = added.attribute.add(name=attribute.name, type=attribute.type)
        if field == "t":
            _move_tensor(attribute.t, kept.t)
        elif field in {"i", "f", "s"}:
            setattr(kept, field, getattr(attribute, field))
        else:
            getattr(kept, field).extend(getattr(attribute, field))
        for text in (kept.s, *kept.strings):
            # what the standard lets be chosen are words such as SAME_UPPER, and einsum's letters
            if not text.isascii() or not text.decode("ascii").isprintable():
                raise CheckpointError(f"the attribute {attribute.name} of {schema.name} is {text[:40]!r}")


def _move_tensor(tensor: TensorProto, to: TensorProto) -> None:
    """Move a tensor's values, without its name and comments; raw ones are not copied."""
    to.data_type = tensor.data_type
    to.dims.extend(tensor.dims)
    if tensor.HasField("raw_data"):
        to.raw_data = tensor.raw_data
        tensor.ClearField("raw_data")
        return
    field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    getattr(to, field).extend(getattr(tensor, field))


def _add_value(to: ValueInfoProto, value: ValueInfoProto, name: str) -> None:
    """Keep a value's type and shape; a length that has a name is one that is not known."""
    to.name = name
    if not value.type.HasField("tensor_type"):
        return
    kept, given = to.type.tensor_type, value.type.tensor_type
    kept.elem_type = TensorProto.FLOAT if given.elem_type in NARROW_FLOATS else given.elem_type
    if given.HasField("shape"):
        kept.shape.SetInParent()
        for length in given.shape.dim:
            kept.shape.dim.add(**({"dim_value": length.dim_value} if length.HasField("dim_value") else {}))
