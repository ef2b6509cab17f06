"""Which weight matrices a network has, whatever its architecture, and how each is unrolled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from filterlens.tracing.convolutions import check_layers

__all__ = ["Geometry", "WeightMatrix", "network_matrices", "weight_matrices"]

_PARTS: Final = ("query", "key", "value")
#: modules whose output is query, key and value in this order, each as wide as the input
_FUSED: Final = ("qkv", "Wqkv", "qkv_proj", "c_attn", "in_proj")
_EMBEDDINGS: Final = ("embed", "wte", "wpe", "pos_emb")


@dataclass(frozen=True, slots=True)
class Geometry:
    """What of a convolution its weight does not say; the defaults hold where only the weight is known.

    Parameters
    ----------
    groups
        Of the convolution; 1 bounds any number of them.
    disjoint
        Whether its patches do not overlap (stride ≥ kernel), so that unrolling is the operator itself.
    """

    groups: int = 1
    disjoint: bool = False


@dataclass(frozen=True, slots=True)
class WeightMatrix:
    """One weight matrix of a model.

    Parameters
    ----------
    name
        As the state dict names it, without `.weight`; with `.query`, `.key` or `.value` where these are fused.
    kind
        `conv`, `linear`, `query`, `key`, `value`, `embedding` or `matrix`.
    place
        Of its tensor among all that hold matrices, from 0, in the order of the state dict.
    tensor
        Returns the weight as the model keeps it: of a convolution (c_out, c_in / groups, …), else (rows, columns).
    geometry
        Of a convolution.
    """

    name: str
    kind: str
    place: int
    tensor: Callable[[], Tensor]
    geometry: Geometry = Geometry()


def network_matrices(network: nn.Module) -> list[WeightMatrix]:
    """List a network's weight matrices in the order of its state dict, layers told by type.

    Parametrisations and weight norm are applied; a tensor that two layers share is listed once.
    """
    found: list[WeightMatrix] = []
    seen: set[int] = set()
    for prefix, module in network.named_modules():
        if "parametrizations" in prefix.split("."):
            continue
        layer = isinstance(module, _ConvNd | nn.Linear | nn.Embedding | nn.EmbeddingBag)
        names = {"weight"} if layer else set()
        names |= {name for name in module._parameters if name not in {"bias", "weight_g", "weight_v"}}
        for name in sorted(names):
            tensor = getattr(module, name, None)
            if not isinstance(tensor, Tensor) or id(tensor) in seen:
                continue
            seen.add(id(module._parameters.get(name, module)))
            parent = network.get_submodule(prefix.rpartition(".")[0]) if prefix else module
            found += _of_tensor(f"{prefix}.{name}" if prefix else name, tensor, _next_place(found), module, parent)
    check_layers(len(found))
    return found


def weight_matrices(weights: Mapping[str, Tensor]) -> list[WeightMatrix]:
    """List the weight matrices of a bare state dict in the order of its keys, layers told by shape and name."""
    found: list[WeightMatrix] = []
    for key, tensor in weights.items():
        last = key.rpartition(".")[2]
        if "weight" in last.split("_") or any(word in last for word in (*_EMBEDDINGS, "table")):
            found += _of_tensor(key, tensor, _next_place(found))
    check_layers(len(found))
    return found


def _next_place(found: list[WeightMatrix]) -> int:
    return found[-1].place + 1 if found else 0


def _of_tensor(
    key: str, tensor: Tensor, place: int, module: nn.Module | None = None, parent: nn.Module | None = None
) -> Iterator[WeightMatrix]:
    """Matrices of one tensor: none, one, or query, key and value."""
    name, _, last = key.rpartition(".")
    name = name if name and last == "weight" else key
    sides = [size for size in tensor.shape if size != 1]
    if not tensor.is_floating_point() or tensor.ndim < 2 or tensor.numel() == 0:
        return
    if isinstance(module, _ConvNd) or (module is None and last == "weight" and tensor.ndim in {3, 4, 5}):
        if head := _fused_conv(name, tensor, parent):
            yield from (WeightMatrix(f"{name}.{part}", part, place, read) for part, read in head)
        else:
            yield WeightMatrix(name, "conv", place, lambda: _output_first(tensor, module), _geometry(module))
        return
    if len(sides) < 2 and not (last == "weight" and tensor.ndim == 2):
        return  # tokens, scales and biases
    matrix = tensor if tensor.ndim == 2 else tensor.reshape(-1, *sides[-1:])
    rows, columns = matrix.shape
    if name.rpartition(".")[2] in {*_FUSED, "in_proj_weight"} and max(rows, columns) == 3 * min(rows, columns):
        axis = 0 if rows > columns else 1  # GPT-2 keeps its weights as (in, out)
        for part, read in _split(matrix, axis, parent):
            yield WeightMatrix(f"{name}.{part}", part, place, read)
        return
    yield WeightMatrix(name, _kind(key, module), place, lambda: matrix)


def _split(matrix: Tensor, axis: int, parent: nn.Module | None) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Query, key and value; where each head keeps its own three together (MaxViT), they are put together."""
    if axis == 0 and getattr(parent, "head_first", False) is True:
        heads = int(getattr(parent, "num_heads", 1))
        matrix = matrix.reshape(heads, 3, -1, matrix.shape[1]).transpose(0, 1).reshape(matrix.shape)
    for i, part in enumerate(_PARTS):
        yield part, lambda i=i: matrix.chunk(3, axis)[i]  # type: ignore[misc]


def _fused_conv(name: str, tensor: Tensor, parent: nn.Module | None) -> list[tuple[str, Callable[[], Tensor]]]:
    """Query, key and value of a 1x1 convolution that fuses them; empty where it is another."""
    rows, columns = tensor.shape[:2]
    if name.rpartition(".")[2] not in _FUSED or tensor[0, 0].numel() != 1 or rows != 3 * columns:
        return []
    return list(_split(tensor.reshape(rows, columns), 0, parent))


def _kind(key: str, module: nn.Module | None) -> str:
    last = key.rpartition(".")[2]
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) or any(word in key.lower() for word in _EMBEDDINGS):
        # the convolution or linear layer of a patch embedding is what it is
        return "linear" if isinstance(module, nn.Linear) else "embedding"
    return "linear" if isinstance(module, nn.Linear) or (module is None and last == "weight") else "matrix"


def _output_first(tensor: Tensor, module: nn.Module | None) -> Tensor:
    """Return a convolution's weight as (c_out, c_in / groups, …): transposed ones keep the input first."""
    if not isinstance(module, _ConvTransposeNd):
        return tensor
    groups = module.groups
    inputs, outputs = tensor.shape[0] // groups, tensor.shape[1]
    grouped = tensor.reshape(groups, inputs, outputs, *tensor.shape[2:]).transpose(1, 2)
    return grouped.reshape(groups * outputs, inputs, *tensor.shape[2:])


def _geometry(module: nn.Module | None) -> Geometry:
    if not isinstance(module, _ConvNd):
        return Geometry()
    disjoint = all(stride >= size for stride, size in zip(module.stride, module.kernel_size, strict=True))
    return Geometry(module.groups, disjoint)
