"""A network that runs an ONNX graph: onnx2torch's modules, called in the file's order. No source code is generated."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from filterlens.errors import CheckpointError
from filterlens.loaders.onnx_budget import MemoryBudget, forward_budget

__all__ = ["ForwardError", "NodeCall", "OnnxNetwork"]


class ForwardError(CheckpointError, RuntimeError):
    """An operation takes no such input: the graph is damaged, or the image not of its size."""


@dataclass(frozen=True, slots=True)
class NodeCall:
    """One call.

    Parameters
    ----------
    path
        Names from the network down to the module.
    inputs, named_inputs
        Values by place, and by the parameters of the module's forward method.
    outputs
        Values that it makes.
    last_used
        Values that nothing needs after it.
    """

    path: tuple[str, ...]
    inputs: tuple[str, ...]
    named_inputs: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]
    last_used: tuple[str, ...] = ()


class OnnxNetwork(nn.Module):
    """Calls its modules in order.

    The first forward pass of every input shape is checked against a budget, operation by operation, before anything is
    allocated.

    Parameters
    ----------
    inputs, outputs
        Names of the graph's values.
    """

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self._graph_inputs, self._graph_outputs = tuple(inputs), tuple(dict.fromkeys(outputs))
        self._constants: dict[str, str] = {}
        self._steps: list[NodeCall] = []
        self._admitted: set[tuple[torch.Size, ...]] = set()

    def forward(self, *inputs: Tensor) -> Tensor | list[Tensor]:
        """Return the graph's output, or a list where it has several."""
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes in self._admitted:
            return self._run(inputs)
        with forward_budget(shapes[0][0] if shapes and shapes[0] else 1) as budget:
            result = self._run(inputs, budget)
        self._admitted.add(shapes)
        return result

    def _run(self, inputs: Sequence[Tensor], budget: MemoryBudget | None = None) -> Tensor | list[Tensor]:
        values: dict[str, Tensor] = {value: self.get_buffer(name) for value, name in self._constants.items()}
        values.update(zip(self._graph_inputs, inputs, strict=True))
        held = 0
        for step in self._steps:
            if budget is not None:
                budget.held = held
            module: nn.Module = self
            for part in step.path:
                module = getattr(module, part)
            arguments = [values[name] for name in step.inputs]
            named = {parameter: values[name] for parameter, name in step.named_inputs}
            try:
                made = module(*arguments, **named)
            except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise ForwardError(
                    f"layer {'.'.join(step.path)!r} of this ONNX network fails ({type(error).__name__}: {error})"
                ) from error
            results = made if isinstance(made, tuple | list) else (made,)
            for name, result in zip(step.outputs, results, strict=False):
                values[name] = result
                held += _size(result)
            for name in step.last_used:
                held -= _size(values.pop(name, None))
        outputs = [values[name] for name in self._graph_outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def place(self, name: str, module: nn.Module) -> nn.Module:
        """Put a module where a dotted name says; what stands there already becomes part of it.

        Raises
        ------
        KeyError
            A part of the name means something else to torch.
        """
        *parents, last = name.split(".")
        root: nn.Module = self
        for part in parents:
            below = getattr(root, part, None)
            if not isinstance(below, nn.Module):
                below = nn.Module()
                root.add_module(part, below)
            root = below
        standing = getattr(root, last, None)
        if isinstance(standing, nn.Module):
            for child, below in standing.named_children():
                module.add_module(child, below)
        root.add_module(last, module)
        return module

    def add_constant(self, value: str, tensor: Tensor) -> None:
        """Hold a value that no node makes."""
        if value not in self._constants:
            # no layer's name holds a slash
            name = f"constant/{len(self._constants)}"
            self.register_buffer(name, tensor)
            self._constants[value] = name

    def add_step(self, name: str, module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Call a placed module next; an empty input is one that is left out.

        Raises
        ------
        TypeError
            The module takes no such inputs.
        """
        signature = inspect.signature(module.forward)
        first = list(inputs).index("") if "" in inputs else len(inputs)
        later = zip(list(signature.parameters)[first:], inputs[first:], strict=False)
        named = tuple((parameter, value) for parameter, value in later if value)
        signature.bind(*inputs[:first], **dict(named))
        self._steps.append(NodeCall(tuple(name.split(".")), tuple(inputs[:first]), named, tuple(outputs)))

    def finish(self) -> None:
        """Let every value be freed after its last use.

        Raises
        ------
        ValueError
            A value is used that nothing makes.
        """
        known = {*self._graph_inputs, *self._constants}
        last: dict[str, int] = {}
        for number, step in enumerate(self._steps):
            used = [*step.inputs, *(value for _, value in step.named_inputs)]
            _check_known(used, known)
            known.update(step.outputs)
            last.update(dict.fromkeys([*used, *step.outputs], number))
        _check_known(self._graph_outputs, known)
        freed: list[list[str]] = [[] for _ in self._steps]
        for value, number in last.items():
            if value not in self._graph_outputs:
                freed[number].append(value)
        self._steps = [
            NodeCall(step.path, step.inputs, step.named_inputs, step.outputs, tuple(names))
            for step, names in zip(self._steps, freed, strict=True)
        ]


def _check_known(values: Iterable[str], known: set[str]) -> None:
    for value in values:
        if value not in known:
            raise ValueError("a node or output of the graph uses a value that nothing before it makes")


def _size(value: object) -> int:
    return value.untyped_storage().nbytes() if isinstance(value, Tensor) else 0
