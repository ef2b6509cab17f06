"""What is held at once does not grow with what there is: peaks of resident memory, each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="there is no /proc here to read the peak from"),
]
ROOT = Path(__file__).parents[2]
LAYERS, WIDTH = 42, 512  # 396 MB
NETWORK = f"""
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, {WIDTH}, 8, stride=8, bias=False)
        for i in range({LAYERS}):
            setattr(self, f"layer{{i}}", nn.Conv2d({WIDTH}, {WIDTH}, 3, padding=1, bias=False))

    def forward(self, x):
        x = self.stem(x)
        for i in range({LAYERS}):
            x = getattr(self, f"layer{{i}}")(x)
        return x.mean((2, 3))
"""
PEAK = """
import re, sys
from pathlib import Path

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
"""
EXTRACT = f"""{PEAK}
import torch

print(peak())
from filterlens.catalogs import Catalog, Entry
from filterlens.runs import extract
from filterlens.lens import RunSettings

folder = Path(sys.argv[1])
entry = Entry(model_id="m", source=sys.argv[2])
outcome = extract(Catalog("m", (entry,), folder), folder / "run", settings=RunSettings(allow_code=True))
assert outcome.count("ok") == 1, outcome.rows[0].reason
print(peak())
"""
AUDIT = f"""{PEAK}
from filterlens import audit
from filterlens.catalogs import load_catalog

folder, models = Path(sys.argv[1]), int(sys.argv[2])
audit(load_catalog(folder / "zoo.csv").select([f"m{{i}}" for i in range(models)]), folder / sys.argv[2])
print(peak())
"""


def measured(code: str, *arguments: str | Path) -> list[int]:
    """Run code in a process of its own and return the numbers that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def weights(layers: int = LAYERS, width: int = WIDTH, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {"stem.weight": torch.randn(width, 3, 8, 8, generator=generator)}
    return state | {f"layer{i}.weight": torch.randn(width, width, 3, 3, generator=generator) for i in range(layers)}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for path in tmp_path.rglob("*"):  # pytest would keep gigabytes
        if path.is_file():
            path.unlink()


def save(form: str, folder: Path) -> tuple[Path, str]:
    """Write 400 MB in a form; return the file and the source that names it."""
    path = folder / {"safetensors": "m.safetensors", "lightning": "m.ckpt"}.get(form, "m.pt")
    if form == "lightning":  # weights, and an optimiser's two moments of each
        state = weights(LAYERS // 3)
        moments = {i: {"exp_avg": value + 1, "exp_avg_sq": value * value} for i, value in enumerate(state.values())}
        named = {f"model.{name}": value for name, value in state.items()}
        torch.save({"state_dict": named, "optimizer_states": [{"state": moments}], "epoch": 9}, path)
    elif form == "safetensors":
        save_file(weights(), path)
    else:
        torch.save(weights(), path, _use_new_zipfile_serialization=form != "legacy")
    (folder / "memory_net.py").write_text(NETWORK)
    return path, f"module:memory_net:Net?weights={path.name}" if form == "network" else path.name


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "lightning", "network"])
def test_the_filters_lens_holds_a_checkpoint_about_once(folder: Path, form: str) -> None:
    path, source = save(form, folder)
    size = path.stat().st_size
    assert size > 390e6
    library, peak = measured(EXTRACT, folder, source)
    print(f"{form}: {peak / 1e6:.0f} MB for a checkpoint of {size / 1e6:.0f} MB, of it {library / 1e6:.0f} MB torch")
    # 1.3 x the checkpoint + 700 MB, but torch alone takes 520 to 750 MB of it: the more, the more of the pages of its
    # libraries the system happens to hold; what is added to them is ours
    assert peak - library <= 1.3 * size + 50e6


def test_the_memory_of_an_audit_does_not_depend_on_the_number_of_models(folder: Path) -> None:
    for model in range(24):
        torch.save(weights(4, seed=model), folder / f"m{model}.pt")
    rows = [f"m{model},m{model}.pt,{'false' if model % 2 else 'true'}" for model in range(24)]
    (folder / "zoo.csv").write_text("\n".join(["model_id,source,robust", *rows]) + "\n")
    (few,), (many,) = measured(AUDIT, folder, "4"), measured(AUDIT, folder, "24")
    print(f"4 models: {few / 1e6:.0f} MB, 24 models: {many / 1e6:.0f} MB")
    assert many - few < 90e6  # each model is 38 MB: not even two more are held


def test_fifty_million_filters_are_pooled_in_less_than_a_gigabyte() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/filter_scores.py", "--distribution", "50000000", "--threads", "1"],
        capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=280,
    )  # fmt: skip
    found = re.search(r"([\d.]+) MiB", done.stdout)
    assert found, done.stdout
    assert float(found[1]) < 1e9 / (1 << 20)
