"""safetensors files that lie: the malformations of its own test suite and audit, and then some."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

from hostile.payload import CHECKPOINT_WAYS, Case, Payload

__all__ = ["headers", "payloads"]


def _file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", (len(text) if length is None else length) & ((1 << 64) - 1)) + text + data


def _entry(start: object, stop: object, shape: object, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def headers() -> dict[str, bytes]:
    """Whole files by what is wrong with them."""
    one = _entry(0, 4, [1])
    four = b"1234"
    found: dict[str, bytes] = {
        "no bytes": b"",
        "a length only": struct.pack("<Q", 0),
        "header of 100 MB": _file({}, length=100 << 20),
        "header of 2^63": _file({}, length=1 << 63),
        "header of 2^64 - 1": _file({}, length=-1),
        "header longer than the file": _file({"w": one}, four, length=1 << 20),
        "header one too long": _file({"w": one}, b"", length=len(json.dumps({"w": one})) + 1),
        "header shorter": _file({"w": one}, four, length=5),
        "not JSON": _file(b"{zq7x"),
        "not UTF-8": _file(b'{"\xff\xfe":1}'),
        "with a BOM": _file(b"\xef\xbb\xbf{}"),
        "without a brace first": _file(b" {}"),
        "depth 100,000": _file(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "lists 200,000 deep": _file(b'{"__metadata__":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
        "a list": _file([1]),
        "a number": _file(b"7"),
        "NaN": _file(b'{"w":NaN}'),
        "a pickle": b"\x80\x04cos\nsystem\n.",
        "pickle and safetensors at once": _file(b'{"__metadata__":{"a":"cos\\nsystem\\n(S\'zq7x\'\\ntR."}}'),
        "a zip file": b"PK\3\4" + bytes(100),
        "metadata no object": _file({"__metadata__": [1], "w": one}, four),
        "metadata of numbers": _file({"__metadata__": {"a": 1}, "w": one}, four),
        "metadata of 1 MB": _file({"__metadata__": {"zq7x": "x" * (1 << 20)}, "w": one}, four),
        "a key twice": _file(
            b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            four,
        ),
        "a field twice": _file(b'{"w":{"dtype":"F32","dtype":"I8","shape":[1],"data_offsets":[0,4]}}', four),
        "an unknown field": _file({"w": {**one, "zq7x": 1}}, four),
        "no fields": _file({"w": {}}),
        "a null tensor": _file({"w": None}),
        "overlaps": _file({"a": _entry(0, 8, [2]), "b": _entry(4, 12, [2])}, bytes(12)),
        "the same bytes twice": _file({"a": _entry(0, 4, [1]), "b": _entry(0, 4, [1])}, four),
        "a hole": _file({"a": _entry(0, 4, [1]), "b": _entry(8, 12, [1])}, bytes(12)),
        "a hole first": _file({"a": _entry(4, 8, [1])}, bytes(8)),
        "bytes of nobody": _file({"w": one}, bytes(64)),
        "three offsets": _file({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}, four),
        "a network of zero channels": _file({"conv.weight": _entry(0, 0, [8, 0, 3, 3])}),
        "a network of zero filters": _file({"conv.weight": _entry(0, 0, [0, 8, 3, 3])}),
        "a convolution of zero size": _file({"conv.weight": _entry(0, 0, [8, 3, 0, 0])}),
        "100,000 empty tensors": _file({f"zq7x{n}.weight": _entry(0, 0, [0]) for n in range(100_000)}),
        "1,000 convolutions": _file(
            {f"zq7x{n}.weight": _entry(n * 36, n * 36 + 36, [1, 1, 3, 3]) for n in range(1_000)}, bytes(36_000)
        ),
        "denormal": _file({"c.weight": _entry(0, 864, [8, 3, 3, 3])}, struct.pack("<I", 1) * 216),
        "all NaN": _file({"c.weight": _entry(0, 864, [8, 3, 3, 3])}, b"\0\0\xc0\x7f" * 216),
        "all infinite": _file({"c.weight": _entry(0, 864, [8, 3, 3, 3])}, b"\0\0\x80\x7f" * 216),
        "largest": _file({"c.weight": _entry(0, 864, [8, 3, 3, 3])}, b"\xff\xff\x7f\x7f" * 216),
        "64 dimensions": _file({"w": _entry(0, 4, [1] * 64)}, four),
        "1,000 dimensions": _file({"w": _entry(0, 4, [1] * 1000)}, four),
    }
    for start, stop in [(0, 400), (-4, 4), (8, 4), (0, 1 << 40), (0, -1), (1 << 62, 1 << 63), ("0", "4"), (0.0, 4.0), (None, 4), (0, 3), (True, 4)]:  # fmt: skip
        found[f"offsets {start!r} to {stop!r}"] = _file({"w": _entry(start, stop, [1])}, four)
    for shape in [[1000, 1000], [1 << 38], [1 << 33, 1 << 33], [1 << 63, 2], [-1], [-1, -1], [0.5], ["1"], None, "zq7x", {}, [[1]], [0, 1 << 62]]:  # fmt: skip
        found[f"shape {shape!r}"] = _file({"w": _entry(0, 4, shape)}, four)
    for dtype in ["F31", "", None, 1, "f32", "F32\0", "I64", "C64", "F64", "BOOL", "U8", "F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "BF16", "object", "zq7x" * 1000]:  # fmt: skip
        found[f"type {str(dtype)[:10]!r}"] = _file({"w": _entry(0, 4, [1], dtype)}, four)
    names = {
        "module prefixes": "module." * 200_000,
        "model prefixes": "model.module." * 50_000,
        "escape": "\x1b]0;zq7x\x07",
        "NUL": "a\0b",
        "HTML": "<script>zq7x</script>",
        "path": "../../zq7x",
        "dots": "...",
        "empty": "",
        "newlines": "a\nb\rc",
        "long": "x" * 1_000_000,
        "markup": "[bold]zq7x[/]",
        "override": "\u202ezq7x",
        "percent": "%2F%00zq7x",
        "surrogate": "\\ud800",
        "C1": "\x9b31mzq7x",
        "LaTeX": "\\input{/etc/passwd}zq7x",
        "formula": "=cmd|'/c zq7x'!A1",
    }
    for name, text in names.items():
        found[f"name: {name}"] = _file({f"{text}.weight": _entry(0, 864, [8, 3, 3, 3])}, bytes(range(216)) * 4)
    return found


def payloads() -> Iterator[Payload]:
    """Every lie as a checkpoint, and as a learned manifold."""
    for name, data in headers().items():

        def write(case: Case, data: bytes = data) -> None:
            (case.folder / "m.safetensors").write_bytes(data)

        yield Payload(
            "safetensors",
            name,
            "safetensors' own suite, CVE-2023-37470's kind",
            write,
            "m.safetensors",
            (*CHECKPOINT_WAYS, "manifold"),
            layers=1_000 if name.startswith(("1,000 convolutions", "1,000 views")) else 0,
        )
