"""What a server answers to `url:` and `hf:`: redirects, lies about lengths, errors, and configurations that call."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from hostile.payload import Case, Payload
from hostile.payloads.containers import CONTAINERS, benign
from hostile.payloads.onnxes import _model
from hostile.payloads.opcodes import PLACES
from hostile.payloads.pickles import body, cell_pickles
from hostile.payloads.tensors import headers
from hostile.server import ANSWERS, Answer

__all__ = ["payloads"]

_GOOD = CONTAINERS["zip"](benign())
_ESCAPE = "zq7x\x1b]0;x\x07\x1b[31m"


#: Redirects from https to https elsewhere, which are followed.
_ELSEWHERE = ("another port", "to a name", "password", "ipv6", "long address", "bad port", "without a scheme")


def _redirects() -> dict[str, Answer]:
    targets = {
        "to http": "http://127.0.0.1:{plain}/m.pt",
        "to http, other case": "HTTP://127.0.0.1:{plain}/m.pt",
        "to ftp": "ftp://127.0.0.1:{plain}/m.pt",
        "to file": "file:///etc/passwd",
        "to data": "data:application/octet-stream;base64,enE3eA==",
        "to javascript": "javascript:zq7x",
        "to another port": "https://127.0.0.1:9/m.pt",
        "to a name": "https://zq7x.invalid/m.pt",
        "with a password": "https://user:zq7x@127.0.0.1:9/m.pt",
        "without a scheme": "//127.0.0.1:{plain}/m.pt",
        "to itself": "/loop/m.pt",
        "to a parent": "../../../../etc/passwd",
        "to nothing": "",
        "with an escape": f"http://127.0.0.1:{{plain}}/{_ESCAPE}",
        "to ipv6": "https://[::1]:9/m.pt",
        "to broken ipv6": "https://[zq7x/m.pt",
        "to a long address": "https://127.0.0.1:9/" + "x" * 60_000,
        "to a bad port": "https://127.0.0.1:99999999/m.pt",
    }
    found = {}
    for code in (301, 302, 303, 307, 308):
        for name, target in targets.items():
            found[f"redirect {code} {name}"] = Answer(b"", code, headers=(("Location", target),))
    found["redirect without a place"] = Answer(b"", 302)
    return found


def _statuses() -> dict[str, Answer]:
    found = {f"status {code}": Answer(b"zq7x", code) for code in (100, 201, 204, 206, 300, 304, 305, 400, 401, 403, 404, 407, 416, 429, 500, 503, 599)}  # fmt: skip
    found |= {f"status {code} with an escape": Answer(b"", code, _ESCAPE) for code in (400, 404, 500)}
    return found


def _lies(whole: bytes) -> dict[str, Answer]:
    found = {f"length {text!r:.20}": Answer(whole, length=text) for text in (None, "0", "1", "-1", "1e3", "zq7x", "9" * 30, str(len(whole) + 1), str(1 << 62), "", " 5", "0x10", "٣", "+5", "1,2")}  # fmt: skip
    found |= {
        "cut": Answer(whole[: len(whole) // 2], length=str(len(whole) // 2)),
        "cut, declared whole": Answer(whole[: len(whole) // 2], length=str(len(whole))),
        "JSON error": Answer(b'{"error":"zq7x"}', headers=(("Content-Type", "application/json"),)),
        "JSON list": Answer(b"[1]"),
        "text error": Answer(b"Access denied: zq7x"),
        "web page": Answer(b"<html><script>zq7x</script>"),
        "XML error": Answer(b"<?xml version='1.0'?><Error>zq7x</Error>"),
        "Git LFS pointer": Answer(b"version https://git-lfs.github.com/spec/v1\n"),
        "nothing": Answer(b""),
        "one byte": Answer(b"\0"),
        "zeros": Answer(bytes(10_000)),
        "gzip": Answer(gzip.compress(whole), headers=(("Content-Encoding", "gzip"),)),
        "gzip bomb": Answer(gzip.compress(bytes(64 << 20)), headers=(("Content-Encoding", "gzip"),)),
        "chunk of a bad size": Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzq7x\r\nabc"),
        "chunk cut": Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc"),
        "chunk of 2^60": Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000\r\nabc"),
        "no HTTP": Answer(raw=b"zq7x\r\n\r\n"),
        "HTTP 0.9": Answer(raw=whole),
        "HTTP 9": Answer(raw=b"HTTP/9.9 200 OK\r\n\r\n"),
        "status no number": Answer(raw=b"HTTP/1.1 zq7x OK\r\n\r\n"),
        "silence": Answer(raw=b""),
        "a header of 1 MB": Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n"),
        "1,000 headers": Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
        "reason with an escape": Answer(raw=f"HTTP/1.1 404 {_ESCAPE}\r\nContent-Length: 0\r\n\r\n".encode()),
        "two lengths": Answer(whole, headers=(("Content-Length", "5"),)),
        "another name": Answer(whole, headers=(("Content-Disposition", "attachment; filename=../../zq7x.pt"),)),
    }
    return found


@cache
def _network() -> bytes:
    """Weights of timm's smallest network."""
    import timm
    import torch
    from safetensors.torch import save

    torch.manual_seed(0)
    return save({name: value.contiguous() for name, value in timm.create_model("test_byobnet").state_dict().items()})


def _configurations() -> Iterator[tuple[str, Callable[[Case], object]]]:
    evil = "{folder}/evil.pt"
    arguments: dict[str, object] = {
        "checkpoint_path": evil,
        "pretrained": True,
        "pretrained_cfg": "zq7x",
        "pretrained_cfg_overlay": {"file": evil, "source": "", "hf_hub_id": "zq7x/zq7x"},
        "cache_dir": "{folder}/cache",
        "scriptable": True,
        "exportable": True,
        "no_jit": True,
        "features_only": True,
        "in_chans": 1_000_000_000,
        "num_classes": 1_000_000_000,
        "drop_rate": "zq7x",
        "act_layer": "os.system",
        "norm_layer": "builtins.eval",
        "block": "os.system",
        "cfg": {"blocks": "zq7x"},
        "device": "meta",
        "global_pool": "zq7x",
        "variant": "../../zq7x",
        "kwargs": {"a": 1},
        "zq7x": 1,
        "strict": False,
        "weights": evil,
        "state_dict": {"a": 1},
        "url": "http://127.0.0.1:9/zq7x",
        "file": evil,
        "custom_load": True,
        "output_stride": -1,
        "stem_chs": 10**9,
        "layers": [10**9],
        "__class__": "zq7x",
    }
    base: dict[str, Any] = {"architecture": "test_byobnet", "num_classes": 1000, "pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1], "input_size": [3, 160, 160]}}  # fmt: skip
    for name, value in arguments.items():
        yield f"model_args.{name}", lambda c, n=name, v=value: {**base, "model_args": {n: v}}
        yield (
            f"pretrained_cfg.{name}",
            lambda c, n=name, v=value: {**base, "pretrained_cfg": {**base["pretrained_cfg"], n: v}},
        )
        yield f"config.{name}", lambda c, n=name, v=value: {**base, n: v}
    for text in ("hf-hub:zq7x/zq7x", "hf_hub:zq7x/zq7x", "local-dir:{folder}", "schema:x:y", "../../zq7x", "zq7x\x1b[31m", "", "test_byobnet.zq7x", "http://127.0.0.1:9/", "timm/test_byobnet", "module:os:abort", "x" * 100_000, "a\0b"):  # fmt: skip
        yield f"architecture {text!r:.30}", lambda c, t=text: {**base, "architecture": t}
    for value in (None, [], 1, {}, True, [["x"]]):
        yield f"architecture {value!r}", lambda c, v=value: {**base, "architecture": v}
        yield f"pretrained_cfg {value!r}", lambda c, v=value: {**base, "pretrained_cfg": v}
        yield f"model_args {value!r}", lambda c, v=value: {**base, "model_args": v}
    for key in ("mean", "std", "input_size"):
        for value in (None, [], "zq7x", [1], [float("nan")] * 3, [0, 0, 0], [-1] * 3, [10**30] * 3, {"a": 1}, [[1]], [3, 10**6, 10**6]):  # fmt: skip
            yield (
                f"{key} {value!r}",
                lambda c, k=key, v=value: {**base, "pretrained_cfg": {**base["pretrained_cfg"], k: v}},
            )
    for name, text in {"deep": "[" * 100_000, "digits": "9" * 10_000, "binary": "\x00", "text": '"zq7x"', "twice": '{"architecture":"a","architecture":"b"}'}.items():  # fmt: skip
        yield f"config {name}", lambda c, t=text: t


def _hub(name: str, config: Callable[[Case], object]) -> Callable[[Case], None]:
    def write(case: Case) -> None:
        body = b"cos\nsystem\n(V" + f"touch {case.marker}".encode() + b"\ntR."
        (case.folder / "evil.pt").write_bytes(body)
        made = config(case)
        text = (made if isinstance(made, str) else json.dumps(made)).replace("{folder}", str(case.folder))
        repository = f"zq7x/r{abs(hash((name, str(case.folder)))) % 10**12}"
        head = (("ETag", f'"{repository[-12:]}"'), ("X-Repo-Commit", "0" * 40))
        for file, data in (("config.json", text.encode()), ("model.safetensors", _network())):
            own = (("ETag", f'"{file[0]}{repository[-12:]}"'), head[1])
            ANSWERS[f"/{repository}/resolve/main/{file}"] = Answer(data, headers=own)
        (case.folder / "argument.txt").write_text(f"hf:{repository}")

    return write


def _url(answer: Callable[[Case], Answer], suffix: str) -> Callable[[Case], None]:
    def write(case: Case) -> None:
        place = f"/{case.folder.parent.name}-{case.folder.name}/m{suffix}"
        ANSWERS.clear()
        ANSWERS["/loop/m.pt"] = Answer(b"", 302, headers=(("Location", "/loop/m.pt"),))
        ANSWERS[place] = answer(case)
        (case.folder / "argument.txt").write_text(f"url:https://127.0.0.1:{case.port}{place}")

    return write


def payloads() -> Iterator[Payload]:
    """Answers to `url:`, and repositories for `hf:`."""
    wholes = {".pt": _GOOD, ".safetensors": headers()["all NaN"], ".onnx": _model().SerializeToString()}
    for suffix, whole in wholes.items():
        for name, answer in (_lies(whole) | (_statuses() | _redirects() if suffix == ".pt" else {})).items():
            write = _url(lambda c, a=answer: a, suffix)
            reaches = name.startswith("redirect") and any(place in name for place in _ELSEWHERE)
            yield _payload(f"{name}, {suffix}", "issue 15.8", write, reaches=reaches)
    for number, (name, about, call, route) in enumerate(cell_pickles()):
        container = list(CONTAINERS)[number % len(CONTAINERS)]
        if number % 3 == 0:

            def answer_of(case: Case, call=call, route=route, container=container) -> Answer:  # type: ignore[no-untyped-def]
                return Answer(CONTAINERS[container](PLACES["value"](body(call, route, case))))

            yield _payload(f"{name}, {container}", about, _url(answer_of, ".pt"), (call.module,))
    for name, config in _configurations():
        yield _payload(f"hf, {name}", "issue 15.3", _hub(name, config))


def _payload(
    name: str, about: str, write: Callable[[Case], None], modules: tuple[str, ...] = (), *, reaches: bool = False
) -> Payload:
    return Payload("server", name, about, write, "argument.txt", ("server",), modules, reaches)
