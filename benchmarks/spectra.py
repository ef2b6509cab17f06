"""Spectra against WeightWatcher, side by side on the same matrices: agreement and processor time.

Run: `python benchmarks/spectra.py [--peer PYTHON]`. `--peer` is the interpreter of an environment that has
weightwatcher, as it is no dependency of filterlens.

Matrices are those of timm's MobileNetV3-Small (half width, ten classes), ViT-Tiny and ResNet-50 (convolutions unrolled
by outputs; at least 20 on the smaller side), with weights of Student's t of three degrees of freedom, whose spectra
have a tail; to WeightWatcher they are linear layers. Both run with one thread, and their processor time is counted,
which is the same on a busy machine; each takes its best of the repeats.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

NETWORKS = {"mobilenetv3_small_050": 10, "vit_tiny_patch16_224": 1000, "resnet50": 1000}  # and their classes

PEER = """
import json, logging, sys, time, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
import weightwatcher
logging.getLogger("weightwatcher").setLevel(logging.ERROR)
weights = torch.load(sys.argv[1])
layers = torch.nn.ModuleDict()
for name, weight in weights.items():
    layers[name] = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layers[name].weight = torch.nn.Parameter(weight)
seconds = []
for _ in range(int(sys.argv[3])):
    start = time.process_time()
    table = weightwatcher.WeightWatcher(model=layers).analyze(plot=False)
    seconds.append(time.process_time() - start)
columns = ["longname", "alpha", "D", "sv_max", "norm", "stable_rank"]
json.dump({"seconds": min(seconds), "version": weightwatcher.__version__,
           "rows": table[columns].to_dict("records")}, open(sys.argv[2], "w"))
"""


def matrices(network: str, classes: int = 1000) -> dict[str, torch.Tensor]:
    """Heavy-tailed weights in the shapes of a network's matrices, at least 20 on the smaller side."""
    import timm  # noqa: PLC0415 - loads torchvision

    from filterlens.tracing.matrices import network_matrices  # noqa: PLC0415 - after timm's threads are set

    torch.manual_seed(0)
    tail = torch.distributions.StudentT(3.0)
    found = {}
    for matrix in network_matrices(timm.create_model(network, num_classes=classes)):
        flat = matrix.tensor().flatten(1)
        if min(flat.shape) >= 20:
            found[matrix.name.replace(".", "_")] = tail.sample(flat.shape) / flat.shape[1] ** 0.5
    return found


def ours(weights: dict[str, torch.Tensor], repeats: int) -> tuple[float, dict[str, dict[str, float]]]:
    from filterlens.lenses.spectra.decomposition import singular_values  # noqa: PLC0415 - as above
    from filterlens.lenses.spectra.scores import (  # noqa: PLC0415
        Spectrum,
        bulk_share,
        effective_rank,
        frobenius_norm,
        power_law_alpha,
        power_law_distance,
        spectral_condition,
        spectral_norm,
        stable_rank,
    )

    every = (
        bulk_share, effective_rank, frobenius_norm, power_law_alpha, power_law_distance, spectral_condition,
        spectral_norm, stable_rank,
    )  # fmt: skip
    seconds = []
    found: dict[str, dict[str, float]] = {}
    for _ in range(repeats):
        start = time.process_time()
        for name, weight in weights.items():
            spectrum = Spectrum(singular_values(weight), weight.shape[0], weight.shape[1])
            found[name] = {score.__name__: score(spectrum) for score in every}
        seconds.append(time.process_time() - start)
    return min(seconds), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| network | matrices | WeightWatcher | filterlens | ratio | α | KS distance | σ_1 | Frobenius² | stable rank |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for network, classes in NETWORKS.items():
        weights = matrices(network, classes)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("weights.pt", "found.json")]
            torch.save(weights, paths[0])
            command = [options.peer, "-c", PEER, *map(str, paths), str(options.repeats)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            peer = json.loads(paths[1].read_text())
        seconds, found = ours(weights, options.repeats)
        pairs = {
            "alpha": "power_law_alpha", "D": "power_law_distance", "sv_max": "spectral_norm", "norm": "frobenius_norm",
            "stable_rank": "stable_rank",
        }  # fmt: skip
        apart = []
        for theirs, name in pairs.items():
            one = np.array([row[theirs] for row in peer["rows"]])
            other = np.array([found[row["longname"]][name] for row in peer["rows"]])
            apart.append(f"{np.max(np.abs(other ** (2 if theirs == 'norm' else 1) / one - 1)):.0e}")
        times = f"{peer['seconds']:.2f} s | {seconds:.2f} s | {peer['seconds'] / seconds:.1f}x"
        print(f"| {network} | {len(peer['rows'])} | {times} | {' | '.join(apart)} |", flush=True)


if __name__ == "__main__":
    main()
