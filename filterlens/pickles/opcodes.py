"""What each opcode of protocols 0 to 5 does to the machine; those that reach outside are not there."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any, Final

from filterlens.pickles.machine import Machine, Pickle, PickleError, decode

__all__ = ["run"]

_PROTOCOL: Final = 5
#: An integer of more bytes has more digits than Python would print.
_INT_BYTES: Final = 1024


def _int(part: bytes) -> int:
    if len(part) > _INT_BYTES:
        raise PickleError(f"a number has {len(part)} bytes")
    return int.from_bytes(part, "little", signed=True)


def _number(part: bytes, kind: Callable[[bytes], Any] = int) -> Any:  # noqa: ANN401 - int or float
    try:
        if len(part) <= 2 * _INT_BYTES:
            return kind(part)
    except ValueError:
        pass
    raise PickleError(f"a number reads {part[:40]!r}")


def _old_int(part: bytes) -> int | bool:
    """Read an integer as protocol 0 writes it, and the two booleans."""
    return part == b"01" if part in {b"00", b"01"} else _number(part)


def _old_long(part: bytes) -> int:
    return int(_number(part.removesuffix(b"L")))


def _protocol(machine: Machine) -> None:
    if (version := machine.unsigned(1)) > _PROTOCOL:
        raise PickleError(f"it has the unknown protocol {version}")


def _frame(machine: Machine) -> None:
    if machine.unsigned(8) > len(machine.data) - machine.position:
        raise PickleError("it ends too early")


def _stack_global(machine: Machine) -> None:
    module, name = machine.several(2)
    if not (isinstance(module, str) and isinstance(name, str)):
        raise PickleError("a name is no text")
    machine.find(module, name)


def _inst(machine: Machine) -> None:
    machine.find(decode(machine.line()), decode(machine.line()))
    function = machine.pop()
    machine.call(function, tuple(machine.pop_mark()))


def _obj(machine: Machine) -> None:
    values = machine.pop_mark()
    if not values:
        raise PickleError("its stack is empty where a value was expected")
    machine.call(values[0], tuple(values[1:]))


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _constant(value: object) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


def _container(kind: Callable[[], object]) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        machine.count()
        machine.stack.append(kind())

    return step


def _fixed(width: int, convert: Callable[[bytes], object]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(convert(machine.take(width)))


def _counted(width: int, convert: Callable[[Machine, bytes], object]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(convert(machine, machine.take(machine.unsigned(width))))


def _by_line(convert: Callable[[Machine, bytes], object]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(convert(machine, machine.line()))


def _tuple(count: int) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        machine.count()
        machine.stack.append(machine.several(count))

    return step


def _call(keywords: int) -> Callable[[Machine], None]:
    return lambda machine: machine.call(*machine.several(2 + keywords))


def _last(machine: Machine, values: list[Any]) -> tuple[Any, list[Any]]:
    """Return the container that now lies on top, and what goes into it."""
    return machine.top(), values


_STOP: Final = pickle.STOP[0]
_STEPS: Final[dict[int, Callable[[Machine], None]]] = {
    opcode[0]: step
    for opcode, step in {
        pickle.PROTO: _protocol,
        pickle.FRAME: _frame,
        pickle.NONE: _constant(None),
        pickle.NEWTRUE: _constant(value=True),
        pickle.NEWFALSE: _constant(value=False),
        pickle.EMPTY_TUPLE: _constant(()),
        pickle.EMPTY_LIST: _container(list),
        pickle.EMPTY_DICT: _container(dict),
        pickle.EMPTY_SET: _container(set),
        pickle.BININT: _fixed(4, _int),
        pickle.BININT1: _fixed(1, lambda part: part[0]),
        pickle.BININT2: _fixed(2, lambda part: int.from_bytes(part, "little")),
        pickle.BINFLOAT: _fixed(8, lambda part: struct.unpack(">d", part)[0]),
        pickle.INT: _by_line(lambda _, part: _old_int(part)),
        pickle.LONG: _by_line(lambda _, part: _old_long(part)),
        pickle.FLOAT: _by_line(lambda _, part: _number(part, float)),
        pickle.LONG1: _counted(1, lambda _, part: _int(part)),
        pickle.LONG4: _counted(4, lambda _, part: _int(part)),
        pickle.STRING: Machine.quoted,
        pickle.BINSTRING: _counted(4, Machine.decoded),
        pickle.SHORT_BINSTRING: _counted(1, Machine.decoded),
        pickle.UNICODE: _by_line(lambda _, part: decode(part, "raw-unicode-escape")),
        pickle.BINUNICODE: _counted(4, lambda _, part: decode(part)),
        pickle.SHORT_BINUNICODE: _counted(1, lambda _, part: decode(part)),
        pickle.BINUNICODE8: _counted(8, lambda _, part: decode(part)),
        pickle.BINBYTES: _counted(4, lambda _, part: part),
        pickle.SHORT_BINBYTES: _counted(1, lambda _, part: part),
        pickle.BINBYTES8: _counted(8, lambda _, part: part),
        pickle.BYTEARRAY8: _counted(8, lambda _, part: bytearray(part)),
        pickle.MARK: Machine.mark,
        pickle.POP: _pop,
        pickle.POP_MARK: lambda machine: (machine.pop_mark(), None)[1],
        pickle.DUP: lambda machine: machine.push(machine.top()),
        pickle.TUPLE: lambda machine: machine.collect(tuple),
        pickle.TUPLE1: _tuple(1),
        pickle.TUPLE2: _tuple(2),
        pickle.TUPLE3: _tuple(3),
        pickle.LIST: lambda machine: machine.collect(list),
        pickle.DICT: lambda machine: machine.collect(machine.make_dict),
        pickle.FROZENSET: lambda machine: machine.collect(machine.make_set),
        pickle.APPEND: lambda machine: machine.append(*_last(machine, [machine.pop()])),
        pickle.APPENDS: lambda machine: machine.append(*_last(machine, machine.pop_mark())),
        pickle.SETITEM: lambda machine: machine.set_items(*_last(machine, list(machine.several(2)))),
        pickle.SETITEMS: lambda machine: machine.set_items(*_last(machine, machine.pop_mark())),
        pickle.ADDITEMS: lambda machine: machine.add(*_last(machine, machine.pop_mark())),
        pickle.PUT: lambda machine: machine.remember(_number(machine.line())),
        pickle.BINPUT: lambda machine: machine.remember(machine.unsigned(1)),
        pickle.LONG_BINPUT: lambda machine: machine.remember(machine.unsigned(4)),
        pickle.MEMOIZE: lambda machine: machine.remember(len(machine.memo)),
        pickle.GET: lambda machine: machine.recall(_number(machine.line())),
        pickle.BINGET: lambda machine: machine.recall(machine.unsigned(1)),
        pickle.LONG_BINGET: lambda machine: machine.recall(machine.unsigned(4)),
        pickle.GLOBAL: lambda machine: machine.find(decode(machine.line()), decode(machine.line())),
        pickle.STACK_GLOBAL: _stack_global,
        pickle.INST: _inst,
        pickle.OBJ: _obj,
        pickle.REDUCE: _call(0),
        pickle.NEWOBJ: _call(0),
        pickle.NEWOBJ_EX: _call(1),
        pickle.BUILD: Machine.set_state,
        pickle.PERSID: lambda machine: machine.refer(decode(machine.line())),
        pickle.BINPERSID: lambda machine: machine.refer(machine.pop()),
    }.items()
}


def run(machine: Machine) -> Pickle:
    """Read opcodes until the pickle stops."""
    data, size = machine.data, len(machine.data)
    for _ in range(machine.budget.opcodes):
        if machine.position >= size:
            raise PickleError("it ends too early")
        opcode = data[machine.position]
        machine.position += 1
        if opcode == _STOP:
            return Pickle(machine.pop(), tuple(sorted(machine.unknown)), machine.position)
        step = _STEPS.get(opcode)
        if step is None:
            raise PickleError(f"it is no pickle, or needs the opcode {opcode:#04x}, which is not read")
        step(machine)
    raise PickleError(f"it has more than {machine.budget.opcodes} opcodes")
