"""Which module a forward pass is in: names for what ATen sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn

__all__ = ["Stack", "layer_name", "module_stack"]

Stack = list[tuple[str, nn.Module]]


@contextmanager
def module_stack(network: nn.Module) -> Iterator[Stack]:
    """Keep a stack of the modules that are running, by name, the innermost last, until the block ends."""
    stack: Stack = []
    handles = []
    try:
        for name, module in network.named_modules():
            handles.append(module.register_forward_pre_hook(partial(_enter, stack, name)))
            handles.append(module.register_forward_hook(partial(_leave, stack), always_call=True))
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def layer_name(stack: Stack, operation: str) -> str:
    """Name of the innermost module, and of the operation where the module is not the operation itself."""
    name, module = stack[-1] if stack else ("", None)
    is_operation = module is not None and (isinstance(module, nn.Conv2d) or next(module.children(), None) is None)
    if is_operation and name:
        return name
    return f"{name}.{operation}" if name else operation


def _enter(stack: Stack, name: str, module: nn.Module, _inputs: object) -> None:
    stack.append((name, module))


def _leave(stack: Stack, _module: nn.Module, _inputs: object, _output: object) -> None:
    stack.pop()
