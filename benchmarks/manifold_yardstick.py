"""Do attacks turn towards the data? Distance / ‖δ‖₂ of attacks beside that of noise, inside the image box and not.

Writes a CSV with one row a network of the zoo on FONTS, manifold `neighbours`: medians over successful regular examples
(`attacked`), over the same images with noise of their attacks' norm (`noise`: Gaussian, clipped to [0, 1] and as long
after clipping; `noise_signs`: the same of random signs; `noise_unclipped`: Gaussian that leaves the box), and over
each image the attack's ratio minus the noise's (`difference`, with the share of images where it is negative). Attacks
are the lens's fast ones. Run as
`python benchmarks/manifold_yardstick.py [--images N] [--out FILE]`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from filterlens.attacks.noise import noisy_images
from filterlens.catalogs import load_catalog
from filterlens.inputs import load_images
from filterlens.lens import RunSettings
from filterlens.lenses.manifold.extractor import attack_of
from filterlens.lenses.manifold.options import ManifoldOptions
from filterlens.loaders import load_model
from filterlens.manifolds import Manifold, Points, choose_manifold, distance
from filterlens.manifolds.attacking import Attack, attack_batch

BATCH = 50


def ratio(manifold: Manifold, images: Tensor, points: Points) -> Tensor:
    length = torch.linalg.vector_norm((images - points.pixels).flatten(1).double(), dim=1)
    found: Tensor = distance(images, manifold.project(images, points)) / length
    return found


def measure(classifier: torch.nn.Module, manifold: Manifold, points: Points, plan: Attack, first: int) -> pd.DataFrame:
    out = attack_batch(classifier, manifold, points, plan, first=first)
    length, generator = out["norm_l2_attacked"], torch.Generator().manual_seed(first)
    gaussian, signs = (torch.randn(points.pixels.shape, generator=generator) for _ in range(2))
    free = gaussian * (length / gaussian.flatten(1).norm(dim=1)).float().view(-1, 1, 1, 1)
    return pd.DataFrame({
        "chosen": (out["success_attacked"] & out["correct"]).numpy(),
        "attacked": (out["distance_attacked"] / length).numpy(),
        "noise": (out["distance_noise"] / out["norm_l2_noise"]).numpy(),
        "noise_signs": ratio(manifold, noisy_images(points.pixels, length, directions=signs.sign()), points).numpy(),
        "noise_unclipped": ratio(manifold, points.pixels + free, points).numpy(),
    })  # fmt: skip


def rows(n: int, known: set[str]) -> Iterator[dict[str, object]]:
    catalog, options, images = load_catalog("fonts-linf"), ManifoldOptions.fast(), load_images("fonts", n)
    manifold, points = choose_manifold("neighbours", images, "fonts", RunSettings()), Points.of(images)
    for entry in catalog:
        if entry.model_id in known:
            continue
        model = load_model(entry, catalog.folder).require_classifier("manifold").eval()
        plan = attack_of(entry, images, options, 0)
        parts = [measure(model, manifold, points.take(slice(i, i + BATCH)), plan, i) for i in range(0, n, BATCH)]
        found = pd.concat(parts)
        found = found[found["chosen"]].drop(columns="chosen")
        difference = found["attacked"] - found["noise"]
        yield {
            "manifold": "neighbours", "model_id": entry.model_id, "robust": entry.robust, "eps": entry.eps,
            "images": n, "examples": len(found), **found.median().round(4),
            "difference": np.round(difference.median(), 4),
            "share_below_noise": np.round((difference < 0).mean(), 3),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/manifold-yardstick.csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.parent.mkdir(exist_ok=True)
    known = set(pd.read_csv(arguments.out)["model_id"]) if arguments.out.exists() else set()
    for row in rows(arguments.images, known):  # a run that was stopped goes on
        pd.DataFrame([row]).to_csv(arguments.out, mode="a", header=not arguments.out.exists(), index=False)


if __name__ == "__main__":
    main()
