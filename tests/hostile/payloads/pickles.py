"""Checkpoints whose pickles want to run something."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hostile.payload import Case, Payload
from hostile.payloads.callables import CALLS, Call
from hostile.payloads.containers import CONTAINERS
from hostile.payloads.opcodes import PLACES, ROUTES, filled

__all__ = ["body", "cell_pickles", "payloads"]

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".th", ".tar")


def payloads() -> Iterator[Payload]:
    """Every callable by three routes, and a shell command by every route in every container and place."""
    routes, places, containers = list(ROUTES), list(PLACES), list(CONTAINERS)
    seen = set()
    for number, call in enumerate(CALLS):
        for turn in range(3):
            route = routes[(number * 3 + turn * 7) % len(routes)] if turn else ("GLOBAL", "STACK_GLOBAL")[number % 2]
            place, container = places[(number + turn) % len(places)], containers[(number * 2 + turn) % len(containers)]
            seen.add((call.id, route, place, container))
            yield _payload(call, route, place, "zip" if not turn else container, number)
    shell = next(call for call in CALLS if call.id == "os.system")
    for number, (route, container) in enumerate(product(routes, containers)):
        place = places[number % len(places)]
        if (shell.id, route, place, container) not in seen:
            yield _payload(shell, route, place, container, number)


def _payload(call: Call, route: str, place: str, container: str, number: int) -> Payload:
    file = f"m{SUFFIXES[number % len(SUFFIXES)]}"

    def write(case: Case) -> None:
        body = ROUTES[route](call.module, call.name, filled(call, case.marker))
        (case.folder / file).write_bytes(CONTAINERS[container](PLACES[place](body)))

    name = f"{call.id}, {route}, {place}, {container}"
    return Payload("pickle", name, call.about, write, file, modules=(call.module,))


def cell_pickles() -> Iterator[tuple[str, str, Call, str]]:
    """Callables and routes once each, for pickles that are no checkpoints."""
    routes = list(ROUTES)
    for number, call in enumerate(CALLS):
        for turn in range(3):
            route = routes[(number * 5 + turn * 11) % len(routes)]
            yield f"{call.id}, {route}", call.about, call, route
    shell = next(call for call in CALLS if call.id == "os.system")
    for route in routes:
        yield f"{shell.id}, {route}, again", shell.about, shell, route


def body(call: Call, route: str, case: Case) -> bytes:
    """The call's opcodes by one route."""
    return ROUTES[route](call.module, call.name, filled(call, case.marker))
