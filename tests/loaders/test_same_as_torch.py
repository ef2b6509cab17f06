"""What our parser reads is what torch reads, bit for bit; and what it costs stays in proportion to the file."""

from __future__ import annotations

import io
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from loaders.conftest import Load
from safetensors.torch import save_file
from torch import Tensor, nn

from filterlens.errors import CheckpointError, FilterlensError
from filterlens.loaders.checkpoint import read
from filterlens.loaders.file import read_weights

BASE = torch.arange(24.0)
DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.complex128, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16,
    torch.bool,
]  # fmt: skip


def _of_type(dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    bits = torch.randint(0, 2, (torch.Size(shape).numel() * dtype.itemsize,), dtype=torch.uint8)
    return bits.view(dtype).reshape(shape) if bits.numel() else torch.empty(shape, dtype=dtype)


SHAPES = [(), (0,), (3,), (2, 0, 4), (2, 3, 1)]
FAMILY: dict[str, Callable[[], Any]] = {
    "types and shapes": lambda: {
        f"{dtype} {shape}": _of_type(dtype, shape) for dtype in DTYPES for shape in SHAPES
    },
    "views of one storage": lambda: {
        "whole": BASE, "part": BASE[3:9], "turned": BASE.view(4, 6).t(), "repeated": BASE.expand(2, 24),
        "stepped": BASE[::2], "middle": BASE.view(2, 3, 4)[:, 1], "again": BASE,
    },
    "parameters": lambda: OrderedDict(w=nn.Parameter(torch.randn(3, 3)), frozen=nn.Parameter(torch.ones(2), False)),
    "conjugates": lambda: [torch.ones(3).mul(1 + 2j).conj(), torch.ones(3).mul(1 + 2j).conj().imag],
    "a state dict with versions": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict(),
    "an optimiser": lambda: torch.optim.Adam(nn.Linear(2, 2).parameters()).state_dict(),
    "plain values": lambda: {
        "a": None, "b": [True, False], "c": {1, 2}, "d": b"xyz", "e": 1 + 2j, "f": torch.Size([1, 2]), "g": 2**100,
        "h": torch.device("cuda:1"), "i": torch.float16, "j": -float("inf"), (1, "k"): (1, 2, 3, 4),
    },
    "sparse": lambda: torch.eye(3).to_sparse(),
}  # fmt: skip


def _differences(ours: Any, torchs: Any, where: str = "") -> Iterator[str]:
    if type(ours) is not type(torchs) and not isinstance(torchs, nn.Parameter):
        yield f"{where}: {type(ours)} {type(torchs)}"
    elif isinstance(torchs, Tensor) and torchs.layout is torch.strided:
        for fact in ("dtype", "shape"):
            if getattr(ours, fact) != getattr(torchs, fact):
                yield f"{where}: {fact}"
        for fact in ("stride", "storage_offset", "is_conj", "is_neg"):
            if getattr(ours, fact)() != getattr(torchs, fact)():
                yield f"{where}: {fact}"
        if ours.untyped_storage().tolist() != torchs.untyped_storage().tolist():
            yield f"{where}: bytes"
    elif isinstance(torchs, Tensor):
        if not torch.equal(ours.to_dense(), torchs.to_dense()):
            yield f"{where}: values"
    elif isinstance(torchs, dict):
        if list(ours) != list(torchs) or getattr(ours, "_metadata", None) != getattr(torchs, "_metadata", None):
            yield f"{where}: keys"
        for key in torchs:
            yield from _differences(ours[key], torchs[key], f"{where}.{key}")
    elif isinstance(torchs, list | tuple):
        for number, (one, other) in enumerate(zip(ours, torchs, strict=True)):
            yield from _differences(one, other, f"{where}.{number}")
    elif ours != torchs:
        yield f"{where}: {ours} {torchs}"


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("protocol", [2, 3, 5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", FAMILY)
def test_the_content_is_what_torch_reads(name: str, legacy: bool, protocol: int, tmp_path: Path) -> None:
    content = FAMILY[name]()
    if legacy and name == "types and shapes":  # torch cannot read these from the older format
        content = {key: value for key, value in content.items() if "uint16" not in key and "float8" not in key}
    path = tmp_path / "m.pt"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    found = read(path)
    assert not list(_differences(found.content, torch.load(path, weights_only=False)))
    assert found.notes == ()


def _seconds(path: Path) -> float:
    start = time.process_time()
    read_weights(path)
    return time.process_time() - start


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_key_of_many_prefixes_takes_no_time(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    weights = {"module." * 100_000 + name: torch.ones(2, 2) for name in ("a", "b")}
    torch.save(weights, path) if suffix == ".pt" else save_file(weights, path)
    assert _seconds(path) < 3
    assert list(read_weights(path)[0]) == ["a", "b"]


def test_nested_dictionaries_that_are_shared_are_searched_once(tmp_path: Path) -> None:
    nested: dict[str, object] = {"a": 1}
    for _ in range(6):
        nested = {f"k{number}": nested for number in range(40)}
    torch.save(nested, tmp_path / "m.pt")
    start = time.process_time()
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_weights(tmp_path / "m.pt")
    assert time.process_time() - start < 3


def test_time_is_in_proportion_to_the_number_of_layers(tmp_path: Path) -> None:
    for count in (1000, 16_000):
        torch.save({f"l{i}.weight": torch.ones(1, 1, 3, 3) for i in range(count)}, tmp_path / f"{count}.pt")
    few, many = (min(_seconds(tmp_path / f"{count}.pt") for _ in range(3)) for count in (1000, 16_000))
    assert many < 60 * max(few, 0.01)  # 16 in proportion, 256 if each layer looked at all others


def _valid() -> list[tuple[str, bytes]]:
    found = []
    for suffix, content, options in (
        (".pt", {"state_dict": {"conv.weight": torch.ones(4, 3, 3, 3)}, "epoch": 1}, {}),
        (".th", {"conv.weight": torch.ones(4, 3, 3, 3)}, {"_use_new_zipfile_serialization": False}),
        (".ckpt", {"model": nn.Sequential(nn.Conv2d(3, 2, 3)), "x": torch.eye(3).to_sparse()}, {}),
    ):
        file = io.BytesIO()
        torch.save(content, file, **options)
        found.append((suffix, file.getvalue()))
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_meet_errors_of_ours_and_good_ones_still_load(tmp_path: Path, load: Load) -> None:
    valid = _valid()
    generator = random.Random(0)
    for _ in range(300):
        suffix, whole = generator.choice(valid)
        data = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(data))
            if generator.random() < 0.7:
                data[place] = generator.choice([0, 255, generator.randrange(256)])
            else:
                data[place : place + generator.randint(0, 8)] = generator.randbytes(generator.randint(0, 8))
        (tmp_path / f"m{suffix}").write_bytes(data)
        try:
            load(f"m{suffix}")
        except FilterlensError as error:
            assert "\n" not in str(error)  # noqa: PT017 - most raise, some do not
    for suffix, whole in valid:
        (tmp_path / f"m{suffix}").write_bytes(whole)
        assert load(f"m{suffix}").weights
