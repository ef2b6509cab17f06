"""Catalogs, `--manifold`, and folders to work in: rows that are code, ids that are paths, modules that are traps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator

from hostile.payload import Case, Payload
from hostile.payloads.pickles import body, cell_pickles
from hostile.payloads.runs import TEXTS

__all__ = ["payloads"]

_COLUMNS = ("model_id", "source", "dataset", "threat_model", "eps", "architecture", "robust", "match", "match_rule", "mean", "std", "clean_acc", "robust_acc", "paper", "epoch")  # fmt: skip
_IDS = ("../zq7x", "..\\zq7x", "/tmp/zq7x", "a/../../zq7x", "..", ".", "a\0b", "CON", ".lock", ".holder", "ledger.jsonl", "a/b", "~", "$HOME", "%2e%2e/zq7x", "zq7x\u202e", "\x1b[31mzq7x", "a\nb", " ", "\ufeff", "x" * 301, "x" * 255, "..%00", "dumps/../../zq7x", "-o", "--help", "é" * 130)  # fmt: skip
_SOURCES = ("module:zq7x_beside:make", "module:zq7x_beside:make?weights=good.pt", "module:zq7x_package.inner:make", "module:os:abort", "module:os:_exit", "module:sys:exit", "module:posix:abort", "module:subprocess:Popen", "module:antigravity:fly", "module:this:s", "module:..zq7x:make", "module:zq7x_beside:__init__", "module:builtins:breakpoint", "module:pty:spawn", "module:code:interact", "module:faulthandler:_sigsegv", "module:ctypes:CDLL", "module:torch:zq7x", "module:torch.hub:load", "module:json.tool:main", "module:http.server:test", "module:http.server:HTTPServer", "module:filterlens.cli:main", "module:unittest:main", "module:pip:main", "module:venv:main", "module:timeit:main", "module:webbrowser:open", "module:zq7x_beside", "module:", "module::", "module:a b:c", "MODULE:os:abort", "module:os:abort#", "url:http://127.0.0.1:9/zq7x.pt", "url:https://127.0.0.1:9/zq7x.pt", "url:file:///etc/passwd.pt", "url:ftp://127.0.0.1:9/x.pt", "url:data:,zq7x.pt", "url:javascript:x.pt", "url:https://[zq7x.pt", "url:https://127.0.0.1:99999999/x.pt", "url:HTTP://127.0.0.1:9/x.pt?sha256=" + "0" * 64, "url:https://user:zq7x@127.0.0.1:9/x.pt", "url:https://127.0.0.1:9/../../x.pt", "url:gopher://127.0.0.1:9/x.pt", "url://x.pt", "url:\x1b[31m.pt", "hf:../../etc/passwd", "hf:zq7x/../zq7x", "hf:zq7x/zq7x@../../zq7x", "hf:/etc", "hf:", "hf:a/b@" + "x" * 5000, "hf:-h/x", "file:/etc/passwd", "file:///etc/passwd", "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem", "../secret.pt", "{secret}", "~/.bashrc", "|touch zq7x", "$(touch zq7x)", "`touch zq7x`", "a;touch zq7x", "timm:../../zq7x", "timm:hf-hub:zq7x/zq7x", "timm:hf_hub:zq7x/zq7x", "timm:local-dir:/etc", "timm:resnet18?weights=/etc/passwd", "timm:resnet18?checkpoint_path={folder}/evil.pt", "timm:zq7x?weights=evil.pt", "torchvision:zq7x", "torchvision:resnet18?weights=evil.pt", "torchvision:__class__", "robustbench:../../zq7x/x", "robustbench:cifar10/Linf/../../zq7x", "robustbench:x", "zenodo:1/../../zq7x", "zenodo:9/a/b", "bundled:../../../zq7x", "bundled:/etc/passwd", "bundled:zq7x?weights=evil.pt", "bundled:preact_resnet?weights=evil.pt", "filterdb:/etc/passwd#0", "filterdb:{folder}/evil.pt#0", "filterdb:x#-1", "filterdb:x#" + "9" * 5000, "filterdb:", "ssh:x", "zq7x:x", "evil.pt", "evil.pt?weights=x", "evil.onnx", "evil.safetensors", "good.pt\n", "evil.pt#", "." * 4000, "x" * 4097, "a\tb.pt", "pipe.pt", "folder.pt", "link.pt", "device.pt")  # fmt: skip
_FILES: dict[str, bytes] = {
    "no header": b"",
    "NUL": b"model_id,source\na\0b,good.pt\n",
    "UTF-16": "model_id,source\nzq7x,good.pt\n".encode("utf-16"),
    "Latin-1": b"model_id,source\n\xe9,good.pt\n",
    "quote without end": b'model_id,source\n"zq7x,good.pt\n',
    "cell of 10 MB": b"model_id,source\n" + b"x" * (10 << 20) + b",good.pt\n",
    "200,000 rows": b"model_id,source\n" + b"".join(b"m%d,x.pt\n" % n for n in range(200_000)),
    "100,000 columns": b",".join(b"c%d" % n for n in range(100_000)) + b"\n",
    "lines of CR": b"model_id,source\ra,good.pt\r",
    "BOM": b"\xef\xbb\xbfmodel_id,source\na,good.pt\n",
    "unknown column": b"model_id,source,zq7x\x1b[31m\na,good.pt,1\n",
    "column twice": b"model_id,source,source\na,good.pt,x\n",
    "id twice": b"model_id,source\na,good.pt\na,good.pt\n",
    "ids of two cases": b"model_id,source\na,good.pt\nA,good.pt\n",
    "match of nobody": b"model_id,source,match\na,good.pt,zq7x\n",
    "match of itself": b"model_id,source,match\na,good.pt,a\n",
    "matches in a circle": b"model_id,source,robust,match\na,good.pt,true,b\nb,good.pt,true,a\n",
    "a pickle": b"cos\nsystem\n(S'zq7x'\ntR.",
    "blank lines": b"model_id,source\n" + b"\n" * 1_000_000,
    "commas": b"model_id,source\n" + b"," * 1_000_000,
    "zip": b"PK\3\4" + bytes(1000),
}
#: Sources that may connect, or read a file of the user, because they say so.
_REMOTE = ("url:https", "url:HTTP", "hf:", "timm:", "torchvision:", "robustbench:", "zenodo:", "{secret}", "link.pt")
_MANIFOLDS = ("module:zq7x_beside:make", "module:", "module::", "module:a.b.c:d", "module:zq7x\0:x", "module:..x:y", "/etc/passwd", "/dev/zero", "/dev/full", "{folder}", "{folder}/evil.pt", "{folder}/pipe.safetensors", "fonts\0", "\x1b[31mzq7x", "", "-h", "neighbours/../x", "http://127.0.0.1:9/x.safetensors", "url:https://127.0.0.1:9/x.pt", "hf:zq7x/zq7x", "x" * 5000, "../../secret.bin")  # fmt: skip
_TRAPS = ("torch", "numpy", "filterlens", "h5py", "random", "encodings", "sitecustomize", "usercustomize", "onnx", "timm", "pandas", "pickle", "multiprocessing", "concurrent", "typing", "safetensors", "scipy", "threading", "zq7x_beside")  # fmt: skip


_GOOD = {"model_id": "good", "source": "good.pt"}


def _beside(case: Case) -> None:
    """Files that a catalog's rows can point at."""
    import os
    from pathlib import Path

    code = f"open({str(case.marker)!r}, 'w').close()\n"
    folder = case.folder
    (folder / "zq7x_beside.py").write_text(code + "def make(): pass\n")
    (folder / "zq7x_package").mkdir()
    (folder / "zq7x_package" / "inner.py").write_text(code)
    for name in ("torch", "json", "timm"):  # a folder of the name of a module
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(code)
    (folder / "evil.pt").write_bytes(b"cos\nsystem\n(V" + f"touch {case.marker}".encode() + b"\ntR.")
    (folder / "evil.onnx").write_bytes(b"\xff" * 50)
    (folder / "evil.safetensors").write_bytes(b"\xff" * 50)
    (folder / "good.pt").write_bytes((folder.parent / "good" / "good.pt").read_bytes())
    os.mkfifo(folder / "pipe.pt")
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "folder.pt").mkdir()
    (folder / "link.pt").symlink_to(case.secret)
    (folder / "device.pt").symlink_to(Path("/dev/zero"))


def _rows(*rows: dict[str, str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def _written(make: Callable[[Case], bytes]) -> Callable[[Case], None]:
    def write(case: Case) -> None:
        _beside(case)
        (case.folder / "zoo.csv").write_bytes(make(case))

    return write


def _source(case: Case, text: str) -> str:
    return text.replace("{secret}", str(case.secret)).replace("{folder}", str(case.folder))


def _card(field: str, value: object) -> bytes:
    import struct

    card = {
        "shape": {"channels": 1, "height": 28, "width": 28, "classes": 10, "latent": 10, "width_factor": 8},
        "data": "fonts",
    }
    if field in {"shape", "data"}:
        card[field] = value  # type: ignore[assignment]
    else:
        card["shape"] = {**card["shape"], field: value}  # type: ignore[dict-item]
    head = json.dumps({"__metadata__": {"filterlens_manifold": json.dumps(card)}, "encoder.a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})  # fmt: skip
    return struct.pack("<Q", len(head)) + head.encode() + bytes(4)


def payloads() -> Iterator[Payload]:
    """Rows, whole files, manifolds and traps."""
    modules = ("zq7x_beside", "zq7x_package", "antigravity", "this")
    for source in _SOURCES:
        for kind in ("alone", "named"):
            first = {"model_id": "bad", "source": source, "dataset": "fonts" if kind == "named" else ""}
            yield Payload(
                "catalog",
                f"source {source[:60]!r}, {kind}",
                "issue 15.5: module: rows, schemes, paths",
                _written(lambda c, f=first: _rows({**f, "source": _source(c, f["source"])}, _GOOD)),
                "zoo.csv",
                ("catalog",),
                modules,
                source.startswith(_REMOTE),
            )
    for name in _IDS:
        row = {"model_id": name, "source": "good.pt"}
        yield Payload(
            "catalog",
            f"id {name[:30]!r}",
            "ids that are paths",
            _written(lambda c, r=row: _rows(r)),
            "zoo.csv",
            ("catalog",),
        )
    for column in _COLUMNS:
        for name, value in TEXTS.items():
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                row = {"model_id": "a", "source": "good.pt", column: str(value)}
                yield Payload("catalog", f"{column}, {name}", "markup and control characters", _written(lambda c, r=row: _rows(r)), "zoo.csv", ("catalog",))  # fmt: skip
    for name, data in _FILES.items():
        yield Payload(
            "catalog", f"file, {name}", "damaged catalogs", _written(lambda c, d=data: d), "zoo.csv", ("catalog",)
        )
    yield from _manifolds(modules)
    for trap in _TRAPS:
        for form in ("module", "package"):
            yield Payload("trap", f"{trap}, {form}", "issue 15.5: ./torch.py ran in workers", _trap(trap, form), "zoo.csv", ("jobs",), ("zq7x_beside",))  # fmt: skip


def _manifolds(modules: tuple[str, ...]) -> Iterator[Payload]:
    for text in _MANIFOLDS:

        def write(case: Case, text: str = text) -> None:
            _beside(case)
            (case.folder / "argument.txt").write_text(_source(case, text).replace("\0", "\ufffd") if text else " ")

        yield Payload("manifold", f"argument {text[:40]!r}", "issue 15.5: module: and paths", write, "argument.txt", ("manifold",), modules)  # fmt: skip
    for field in ("shape", "data", "channels", "height", "width", "classes", "latent", "width_factor", "zq7x"):
        for name, value in {**TEXTS, "large": 10**9, "negative": -1, "zero": 0}.items():
            yield Payload("manifold", f"card {field}, {name}", "a card of wrong types and sizes", lambda c, f=field, v=value: (c.folder / "m.safetensors").write_bytes(_card(f, v)) and None, "m.safetensors", ("manifold",))  # fmt: skip
    for number, (name, about, call, route) in enumerate(cell_pickles()):
        if number % 3 != 2:
            suffix = (".pt", ".safetensors", ".pkl")[number % 3]
            yield Payload("manifold", f"pickle {name}, {suffix}", about, lambda c, a=call, r=route, s=suffix: (c.folder / f"m{s}").write_bytes(body(a, r, c) + b".") and None, f"m{suffix}", ("manifold",), (call.module,))  # fmt: skip


def _trap(name: str, form: str) -> Callable[[Case], None]:
    def write(case: Case) -> None:
        import os

        code = f"open({str(case.marker)!r}, 'w').close()\n"
        place = case.folder / "here"
        place.mkdir()
        if form == "module":
            (place / f"{name}.py").write_text(code)
        else:
            (place / name).mkdir()
            (place / name / "__init__.py").write_text(code)
        (case.folder / "good.pt").write_bytes((case.folder.parent / "good" / "good.pt").read_bytes())
        (case.folder / "zoo.csv").write_bytes(_rows({"model_id": "a", "source": "good.pt"}, {"model_id": "b", "source": "good.pt"}))  # fmt: skip
        os.chdir(place)

    return write
