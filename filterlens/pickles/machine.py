"""The machine that a pickle drives: stack, memo, calls, and the budget of each."""

from __future__ import annotations

import mmap
from _codecs import escape_decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from filterlens.errors import FilterlensError

__all__ = ["Budget", "Constructor", "Machine", "Pickle", "PickleError", "Placeholder", "decode", "kind_of"]

_KEY_PARTS: Final = 64
#: Integers of this size and more, and tuples of any numbers, can be chosen so that their hashes are equal.
_HASH_MODULUS: Final = (1 << 61) - 1
#: What a constructor of ours may raise for arguments that it did not expect.
_CALL_FAULTS: Final = (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, AttributeError, MemoryError)
_SIZED: Final = (str, bytes, bytearray, tuple, list, dict, set, frozenset)


class PickleError(FilterlensError):
    """A pickle is damaged, needs what is not rebuilt, or exceeds its budget; the message names no file."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one pickle may ask for.

    Parameters
    ----------
    opcodes
        Steps of the machine; about a million take a second.
    containers
        Lists, tuples, mappings, sets, placeholders and calls; an empty set takes 216 bytes of memory.
    costly_keys
        Keys of mappings and elements of sets whose hashes a file could make equal, so that each is compared with all.
    """

    opcodes: int = 20_000_000
    containers: int = 3_000_000
    costly_keys: int = 4096


class Placeholder:
    """An opaque placeholder: stands for what a pickle names and what is not rebuilt.

    Parameters
    ----------
    name
        Module and name, joined by a dot.
    state
        What the pickle would have set: a mapping of attributes, or anything.
    items
        Key-value pairs, of a subclass of a dictionary.
    """

    __slots__ = ("items", "name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: object = None
        self.items: dict[object, object] = {}


@dataclass(frozen=True, slots=True)
class Constructor:
    """A function that a pickle may have called; it stays on the stack in this shell, so that nothing can change it."""

    name: str
    function: Callable[..., object]


@dataclass(frozen=True, slots=True)
class Pickle:
    """What a pickle holds.

    Parameters
    ----------
    content
        Plain values and containers, what the constructors returned, and placeholders.
    unknown
        Names that were not in the table of constructors, sorted.
    end
        Offset of the first byte after it.
    """

    content: Any
    unknown: tuple[str, ...]
    end: int


@dataclass(slots=True)
class Machine:
    """A pickle's stack, memo and what it has used of its budget; `opcodes` works on it."""

    data: bytes | mmap.mmap
    start: int
    constructors: Mapping[str, object]
    persistent: Callable[[Any], object] | None
    build: Callable[[object, object], None] | None
    encoding: str
    budget: Budget
    position: int = 0
    containers: int = 0
    costly_keys: int = 0
    copied: int = 0
    stack: list[Any] = field(default_factory=list)
    marked: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.position = self.start

    # bytes

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        end = self.position + count
        if end > len(self.data):
            raise PickleError("it ends too early")
        part = self.data[self.position : end]
        self.position = end
        return part

    def unsigned(self, width: int) -> int:
        """Read a number of so many bytes."""
        return int.from_bytes(self.take(width), "little")

    def line(self) -> bytes:
        """Return what there is up to the end of the line."""
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise PickleError("it ends too early")
        line = self.data[self.position : end]
        self.position = end + 1
        return line

    # the stack

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:  # noqa: ANN401 - anything may lie there
        """Take the topmost value."""
        if not self.stack:
            raise PickleError("its stack is empty where a value was expected")
        return self.stack.pop()

    def top(self) -> Any:  # noqa: ANN401 - anything may lie there
        """Return the topmost value and leave it there."""
        if not self.stack:
            raise PickleError("its stack is empty where a value was expected")
        return self.stack[-1]

    def mark(self) -> None:
        """Begin a new stack above a mark."""
        self.count()
        self.marked.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Take everything down to the last mark."""
        if not self.marked:
            raise PickleError("its stack has no mark where one was expected")
        values, self.stack = self.stack, self.marked.pop()
        return values

    def several(self, count: int) -> tuple[Any, ...]:
        """Take so many values, the topmost last."""
        if len(self.stack) < count:
            raise PickleError("its stack is empty where a value was expected")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def count(self) -> None:
        """Count an object that is made."""
        self.containers += 1
        if self.containers > self.budget.containers:
            raise PickleError(f"it makes more than {self.budget.containers} objects")

    def remember(self, place: int) -> None:
        """Store the topmost value under a number."""
        if place < 0:
            raise PickleError(f"it remembers a value as number {place}")
        self.memo[place] = self.top()

    def recall(self, place: int) -> None:
        """Put a stored value on the stack."""
        if place not in self.memo:
            raise PickleError(f"it asks for value number {place}, which it did not store")
        self.push(self.memo[place])

    # containers

    def collect(self, kind: Callable[[list[Any]], object]) -> None:
        """Make a container of everything down to the last mark."""
        self.count()
        values = self.pop_mark()
        self.push(kind(values))

    def make_set(self, values: list[Any]) -> frozenset[Any]:
        """Make a set of values whose hashes are cheap."""
        return frozenset([self.key(value) for value in values])

    def make_dict(self, values: list[Any]) -> dict[Any, Any]:
        """Make a mapping of keys and values in turn."""
        made: dict[Any, Any] = {}
        self.set_items(made, values)
        return made

    def set_items(self, target: object, values: list[Any]) -> None:
        """Store keys and values in turn in a mapping."""
        if len(values) % 2:
            raise PickleError("a key has no value")
        items = target.items if isinstance(target, Placeholder) else target
        if not isinstance(items, dict):
            raise PickleError(f"it stores items in {kind_of(target)}, which is no mapping")
        for key, value in zip(values[::2], values[1::2], strict=True):
            items[self.key(key)] = value

    def append(self, target: object, values: list[Any]) -> None:
        """Append values to a list; those of a placeholder are dropped."""
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Placeholder):
            raise PickleError(f"it appends to {kind_of(target)}, which is no list")

    def add(self, target: object, values: list[Any]) -> None:
        """Add values to a set; those of a placeholder are dropped."""
        if isinstance(target, set):
            target.update([self.key(value) for value in values])
        elif not isinstance(target, Placeholder):
            raise PickleError(f"it adds to {kind_of(target)}, which is no set")

    def key(self, key: object) -> object:
        """Return what stands for a key: itself where hashing it is cheap, an object's placeholder otherwise."""
        kind = type(key)
        if kind is str or kind is Placeholder or (kind is int and -_HASH_MODULUS < key < _HASH_MODULUS):  # type: ignore[operator]
            return key
        if isinstance(key, list | dict | set | bytearray):
            raise PickleError(f"a key is {kind_of(key)}")
        if not isinstance(key, tuple | frozenset | bytes | int | float | complex | None):
            return Placeholder(kind_of(key))
        self.check_key(key)
        return key

    def check_key(self, key: object) -> None:
        """Refuse a key whose hash takes long, and count those whose hashes may be equal."""
        waiting: list[object] = [key]
        costly = False
        for _ in range(_KEY_PARTS):
            if not waiting:
                break
            part = waiting.pop()
            if isinstance(part, tuple | frozenset):
                if len(part) > _KEY_PARTS:
                    break
                waiting.extend(part)
            elif not isinstance(part, str | bytes | int | float | complex | None):
                raise PickleError(f"a key holds {kind_of(part)}")
            costly |= isinstance(part, int | float | complex) and (
                part is not key or isinstance(part, complex) or abs(part) >= _HASH_MODULUS
            )
        if waiting or (isinstance(key, tuple | frozenset) and len(key) > _KEY_PARTS):
            raise PickleError(f"a key has more than {_KEY_PARTS} parts")
        self.costly_keys += costly
        if self.costly_keys > self.budget.costly_keys:
            raise PickleError(f"it has more than {self.budget.costly_keys} keys of several numbers or of large ones")

    # names and calls

    def find(self, module: str, name: str) -> None:
        """Put on the stack what a name stands for."""
        full = f"{module.replace('__builtin__', 'builtins')}.{name}"
        self.count()
        if full in self.constructors:
            known = self.constructors[full]
            self.push(Constructor(full, known) if callable(known) else known)
        elif full in _PLAIN:
            self.push(Constructor(full, partial(_PLAIN[full], self)))
        else:
            self.unknown.add(full)
            self.push(Placeholder(full))

    def call(self, function: object, values: object, keywords: object = None) -> None:
        """Call a function of ours; a placeholder makes another one."""
        self.count()
        if not isinstance(values, tuple):
            raise PickleError(f"it calls with {kind_of(values)} for arguments")
        if isinstance(function, Placeholder):
            self.push(Placeholder(function.name))
        elif not isinstance(function, Constructor):
            raise PickleError(f"it calls {kind_of(function)}, which is no function")
        elif keywords:
            raise PickleError(f"it calls {function.name} with arguments by name")
        else:
            self.charge(values)
            try:
                self.push(function.function(*values))
            except _CALL_FAULTS as error:
                said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                raise PickleError(f"{function.name} cannot be rebuilt: {said}") from error

    def charge(self, values: tuple[Any, ...]) -> None:
        """Count what a constructor may copy: a file could hand it the same long list again and again."""
        self.copied += len(values) + sum(len(v) for v in values if isinstance(v, _SIZED))
        if self.copied > 4 * (self.position - self.start) + 100_000:
            raise PickleError("it copies its values again and again")

    def refer(self, identifier: object) -> None:
        """Let the caller answer a persistent id."""
        if self.persistent is None:
            raise PickleError("it refers to something outside")
        self.push(self.persistent(identifier))

    def set_state(self) -> None:
        """Keep the state of a placeholder, and give that of others to the caller."""
        state, target = self.pop(), self.top()
        if isinstance(target, Placeholder):
            target.state = state
        elif self.build is not None:
            self.build(target, state)

    # text

    def decoded(self, part: bytes) -> str | bytes:
        """Decode text of Python 2."""
        return part if self.encoding == "bytes" else decode(part, self.encoding)

    def quoted(self) -> None:
        """Read text in quotes, as protocol 0 writes it."""
        part = self.line()
        if len(part) < 2 or part[:1] != part[-1:] or part[:1] not in {b'"', b"'"}:
            raise PickleError("a text has no quotes around it")
        try:
            plain = escape_decode(part[1:-1])[0]
        except ValueError as error:
            raise PickleError(f"a text is damaged: {str(error)[:100]}") from error
        self.push(self.decoded(plain))


def kind_of(value: object) -> str:
    """Say what a value is, without looking into it."""
    return value.name if isinstance(value, Constructor) else f"a {type(value).__name__}"


def decode(part: bytes, encoding: str = "utf-8") -> str:
    """Decode text, or say that it is damaged."""
    try:
        text = part.decode(encoding)
        if encoding == "raw-unicode-escape":
            text.encode()  # half a surrogate pair can be neither printed nor stored
    except ValueError as error:
        raise PickleError(f"a text is damaged: {str(error)[:100]}") from error
    return text


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Answer `_codecs.encode`, by which protocols 0 to 2 write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleError(f"bytes are stored as {encoding!r:.40}")
    return text.encode("latin1")


def _sequence(values: object) -> list[Any]:
    if not isinstance(values, list | tuple | set | frozenset):
        raise PickleError(f"a sequence is to be made of {kind_of(values)}")
    return list(values)


def _bytes(values: object = b"", *encoding: str) -> bytes:
    if isinstance(values, str):
        return _encoded(values, *encoding)
    return values if isinstance(values, bytes) else bytes(_sequence(values))


def _mapping(machine: Machine, made: dict[Any, Any], values: object) -> dict[Any, Any]:
    pairs = values.items() if isinstance(values, dict) else _sequence(values)
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise PickleError("a mapping is to be made of something else than pairs")
        made[machine.key(pair[0])] = pair[1]
    return made


#: What protocols 0 to 4 name for plain values; each is given the machine first.
_PLAIN: Final[dict[str, Callable[..., object]]] = {
    "_codecs.encode": lambda _, *values: _encoded(*values),
    "builtins.bytes": lambda _, *values: _bytes(*values),
    "builtins.bytearray": lambda _, *values: bytearray(_bytes(*values)),
    "builtins.complex": lambda _, real, imaginary: complex(float(real), float(imaginary)),
    "builtins.list": lambda _, values=(): _sequence(values),
    "builtins.tuple": lambda _, values=(): tuple(_sequence(values)),
    "builtins.set": lambda machine, values=(): set(machine.make_set(_sequence(values))),
    "builtins.frozenset": lambda machine, values=(): machine.make_set(_sequence(values)),
    "builtins.dict": lambda machine, values=(): _mapping(machine, {}, values),
    "collections.Counter": lambda machine, values=(): _mapping(machine, {}, values),
    "collections.defaultdict": lambda machine, _=None, values=(): _mapping(machine, {}, values),
    "collections.OrderedDict": lambda machine, values=(): _mapping(machine, OrderedDict(), values),
}
