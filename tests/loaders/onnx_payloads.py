"""ONNX files whose names are payloads, and a child process that loads them under an audit hook.

Run as a script: `python onnx_payloads.py FOLDER` loads every file in it and prints one JSON line a file.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

#: Stands in every payload, and so in any source text made from one.
TOKEN = "zqxw"

_CODE = f'__import__("os").system("touch {TOKEN}-marker")'
NAMES = [
    f'conv")\rexec(bytes([49]))\rdef {TOKEN}(self,x):\r    return self#.weight',
    f'conv")\nexec("{TOKEN}")\n#.weight',
    f"conv')\n{_CODE}\n#.weight",
    f'"); {_CODE}; ("',
    f"'); {_CODE}; ('",
    f'"""{TOKEN}"""',
    f"'''{TOKEN}'''",
    f"{TOKEN}\n",
    f"{TOKEN}\r\n.weight",
    f"{TOKEN}\u2028{_CODE}",
    f"{TOKEN}\u2029{_CODE}",
    f"{TOKEN}\x85{_CODE}",
    f"{TOKEN}\x0b\x0c\x1c\x1d\x1e",
    f"{TOKEN}\0.weight",
    f"\0{TOKEN}",
    f"{TOKEN}\\",
    f'{TOKEN}\\"',
    f"{TOKEN}\\N{{DIGIT ONE}}",
    f"{TOKEN}{{self.__class__}}",
    f"{{{_CODE}}}{TOKEN}",
    f"{TOKEN}%s%n%(x)s",
    f"{TOKEN}$(touch marker)`touch marker`",
    f"{TOKEN};touch marker",
    f"{TOKEN}\x1b[2J\x1b]0;title\x07",
    f"{TOKEN}\b\b\b\x7f",
    f"{TOKEN}\u202egnp.exe",
    f"{TOKEN}\u200b\ufeff",
    f"../../{TOKEN}",
    f"/etc/{TOKEN}",
    f"C:\\{TOKEN}",
    f"{TOKEN}/../../x.weight",
    f"file:///{TOKEN}",
    f"http://127.0.0.1:9/{TOKEN}",
    f"<script>{TOKEN}</script>",
    f"__{TOKEN}__",
    f"lambda: {_CODE}",
    f"{TOKEN}.forward",
    f"{TOKEN}.__class__.weight",
    f"{TOKEN}.weight.weight.weight",
    f"{TOKEN}..weight",
    f".{TOKEN}.",
    f"{TOKEN}/",
    f"𝐳𝐪{TOKEN}",
    f"ｓｅｌｆ{TOKEN}",
    f"сonv{TOKEN}",
    f"{TOKEN}" * 250_000,
    f"{TOKEN}." * 200_000,
    f"{TOKEN}/" * 99,
    f"{TOKEN}_2",
    f" {TOKEN} ",
    "__class__",
    "__init__",
    "__dict__.weight",
    "__reduce__",
    "_modules",
    "_parameters.weight",
    "_steps",
    "forward",
    "weight",
    "training.weight",
    "self",
    "class",
    "None",
    "import",
    "initializers",
    "constant/0",
    "value0",
    "node0",
    "",
    ".",
    "/",
    "0",
    "\ud7ff",
]
PLACES = ["node", "input", "output", "weight", "middle", "graph", "attribute", "domain", "op", "function", "value_info"]


def small_model(**names: str) -> ModelProto:
    """A convolution, ReLU and pooling; names by place, ordinary where none is given."""
    x, y, mid = names.get("input", "x"), names.get("output", "y"), names.get("middle", "mid")
    weight = names.get("weight", "conv.weight")
    values = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", [x, weight], [mid], name=names.get("node", "conv")),
        helper.make_node(names.get("op", "Relu"), [mid], ["relu"], domain=names.get("domain", "")),
        helper.make_node("GlobalAveragePool", ["relu"], [y], name=names.get("node", "pool")),
    ]
    if "attribute" in names:
        nodes[0].attribute.append(AttributeProto(name=names["attribute"], type=AttributeProto.INT, i=1))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        names.get("graph", "g"),
        [info(x, TensorProto.FLOAT, [1, 3, 8, 8])],
        [info(y, TensorProto.FLOAT, [1, 4, 1, 1])],
        [numpy_helper.from_array(values, weight)],
        doc_string=names.get("graph", ""),
        value_info=[info(names["value_info"], TensorProto.FLOAT, [1])] if "value_info" in names else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if "domain" in names:
        model.opset_import.append(helper.make_opsetid(names["domain"], 1))
    if (name := names.get("function")) is not None:
        body = [helper.make_node("Identity", [name], [f"{name}out"], name=name)]
        opsets = [helper.make_opsetid("", 13)]
        function = helper.make_function(name, name, [name], [f"{name}out"], body, opsets, attributes=[name])
        model.functions.append(function)
        model.metadata_props.add(key=name, value=name)
    return model


def load_all(folder: Path) -> None:
    """Load every file of a folder; report what was done with its names."""
    import torch

    from filterlens.catalogs import Entry
    from filterlens.errors import CheckpointError
    from filterlens.loaders import load_model

    seen: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "compile" and TOKEN in (args[0] if isinstance(args[0], str) else bytes(args[0] or b"").decode()):
            seen.append("compiled a name")
        elif event == "exec" and TOKEN in repr(getattr(args[0], "co_consts", "")) + repr(
            getattr(args[0], "co_names", "")
        ):
            seen.append("executed a name")
        elif event in {"os.system", "subprocess.Popen", "socket.connect", "os.exec", "os.posix_spawn", "ctypes.dlopen"}:
            seen.append(event)
        elif event == "import" and TOKEN in str(args[0]):
            seen.append("imported a name")
        elif event == "open" and (
            (isinstance(args[1], str) and set(args[1]) & set("wax+")) or int(args[2]) & (os.O_WRONLY | os.O_RDWR)
        ):
            seen.append(f"wrote {args[0]!r}")

    def attempt(path: Path) -> tuple[str, object]:
        model = load_model(Entry(model_id="m", source=path.name), folder)
        if model.classifier is None:
            return "weights", "; ".join(model.notes)
        with torch.no_grad():
            return "network", model.classifier(torch.ones(2, 3, 8, 8)).flatten().tolist()

    attempt(folder / "control.onnx")  # what is imported at first use is compiled before the hook listens
    sys.addaudithook(hook)
    for path in sorted(folder.glob("*.onnx")):
        try:
            kind, said = attempt(path)
        except CheckpointError as error:
            kind, said = "refused", str(error)
        sys.stdout.write(json.dumps({"file": path.stem, "kind": kind, "said": said, "seen": seen}) + "\n")
        seen.clear()


if __name__ == "__main__":
    onnx.load = None  # type: ignore[assignment]  # it chooses a format by the file's name
    load_all(Path(sys.argv[1]))
