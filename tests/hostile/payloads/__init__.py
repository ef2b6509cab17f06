"""The payloads, made by kind."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from hostile.payload import Payload, unique

__all__ = ["KINDS", "by_id", "collection"]

KINDS = (
    "pickles", "onnxes", "tensors", "scripts", "structures", "images", "archives", "databases", "runs", "catalogs", "answers",
)  # fmt: skip


@cache
def collection() -> tuple[Payload, ...]:
    """Every payload."""
    return tuple(unique(payload for kind in KINDS for payload in import_module(f"hostile.payloads.{kind}").payloads()))


@cache
def by_id() -> dict[str, Payload]:
    """Every payload by its id."""
    return {payload.id: payload for payload in collection()}
