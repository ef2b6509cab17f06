"""What writing and reading agree on: the schema, the types of arrays, and their names."""

from __future__ import annotations

from typing import Final

__all__ = ["NUMBERS", "SCHEMA", "SCORED", "decode_name", "encode_name"]

SCHEMA: Final = 1
SCORED: Final = "scored"  # root group of lenses of which scores are kept and not the arrays; no lens is called so
NUMBERS: Final = "fiub"  # NumPy's letters for the types that dumps hold: floats, integers, booleans


def encode_name(name: str) -> str:
    """Turn a layer's name into one HDF5 link name (ONNX names hold slashes)."""
    encoded = name.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return {"": "%", ".": "%2E"}.get(encoded, encoded)


def decode_name(link: str) -> str:
    """Undo `encode_name`."""
    if link == "%":
        return ""
    return link.replace("%2E", ".").replace("%00", "\0").replace("%2F", "/").replace("%25", "%")
