"""How strong the attacks are: accuracy under ours and under those of torchattacks and AutoAttack, on real networks.

Writes a CSV with one row a network and norm: accuracy in percent under 20 steps and one restart of `pgd`, of `apgd`,
of the joint attack on weights and images with weights that cannot move (`joint`, L∞ as in the flatness lens), of
torchattacks' and foolbox's PGD and of AutoAttack's APGD-CE, all on the same images. ε is the catalog's for robust
models in L∞; a tenth of it for others, of which nothing would be left otherwise; in L2 it is chosen likewise. Run as

    python benchmarks/attacks.py [CATALOG ...] [--images N] [--data FILE] [--out FILE]

A run that was stopped goes on. AutoAttack comes with `pyautoattack`; torchattacks and foolbox are of the
extra `dev`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
import torchattacks
from foolbox import PyTorchModel
from foolbox.attacks import L2ProjectedGradientDescentAttack, LinfProjectedGradientDescentAttack
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from filterlens.attacks import Ball, Norm, Weights, apgd, pgd
from filterlens.attacks.evaluation import Running, Threat
from filterlens.attacks.joint import joint_attack, robust_loss
from filterlens.attacks.parameters import perturbed_parameters
from filterlens.catalogs import Catalog, Entry, load_catalog
from filterlens.inputs import Images, load_images
from filterlens.lens import RunSettings
from filterlens.loaders import load_model
from filterlens.loaders.model import Classifier

STEPS = 20
L2 = {"fonts": 1.5, "cifar10": 0.5}  # ε of robust models


def ball_of(entry: Entry, norm: Norm) -> Ball:
    """Choose ε so that some images are left: the catalog's for robust models, a tenth of it for others."""
    eps = float(entry.eps or 0) if norm == "Linf" else L2[entry.dataset]
    return Ball(norm, eps if entry.robust else eps / 10)


def joint(classifier: Classifier, images: Images, ball: Ball) -> float:
    """Accuracy under the flatness lens's joint attack where ξ = 0, in percent."""
    runner = Running(classifier, images, RunSettings(batch_size=100), bf16=False, progress=lambda *_: None)
    threat = Threat(ball, ball.eps / 4)
    with Weights(list(perturbed_parameters(classifier).values()), radius=0.0, step=0.01) as weights:
        joint_attack(runner, weights, threat, steps=STEPS, seed=0, restart=0)
        weights.freeze()
        return 100 * float(robust_loss(runner, threat, steps=STEPS).correct.mean())


def peers(classifier: nn.Module, pixels: Tensor, labels: Tensor, ball: Ball) -> dict[str, float]:
    """Accuracy under other packages' attacks, in percent."""
    attack = torchattacks.PGD if ball.norm == "Linf" else torchattacks.PGDL2
    torch.manual_seed(0)
    found = {"torchattacks": attack(classifier, eps=ball.eps, alpha=ball.eps / 4, steps=STEPS)(pixels, labels)}
    torch.manual_seed(0)
    peer = LinfProjectedGradientDescentAttack if ball.norm == "Linf" else L2ProjectedGradientDescentAttack
    found["foolbox"] = peer(steps=STEPS, abs_stepsize=ball.eps / 4)(
        PyTorchModel(classifier, bounds=(0, 1), device="cpu"), pixels, labels, epsilons=ball.eps
    )[1]
    auto = APGDAttack(classifier, n_iter=STEPS, norm=ball.norm, n_restarts=1, eps=ball.eps, device=torch.device("cpu"))
    found["autoattack_apgd"] = auto.perturb(pixels.clone(), labels)
    with torch.no_grad():
        return {name: accuracy(classifier(moved), labels) for name, moved in found.items()}


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return 100 * (logits.argmax(dim=1) == labels).double().mean().item()


def compare(classifier: Classifier, images: Images, ball: Ball) -> dict[str, float]:
    """Accuracy under every attack, in percent."""
    pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    with torch.no_grad():
        clean = accuracy(classifier(pixels), labels)
    ours = pgd(classifier, pixels, labels, eps=ball.eps, step=ball.eps / 4, steps=STEPS, norm=ball.norm)
    found = {"clean": clean, "pgd": 100 * (~ours.success).double().mean().item()}
    adaptive = apgd(classifier, pixels, labels, eps=ball.eps, steps=STEPS, norm=ball.norm)
    found["apgd"] = 100 * (~adaptive.success).double().mean().item()
    if ball.norm == "Linf":
        found["joint"] = joint(classifier, images, ball)
    return found | peers(classifier, pixels, labels, ball)


def rows(catalog: Catalog, data: str, n: int, known: set[tuple[str, str]]) -> Iterator[dict[str, object]]:
    norms: tuple[Norm, ...] = ("Linf", "L2")
    for norm in norms:
        for entry in catalog:
            if (entry.model_id, norm) in known or entry.model_id.endswith("-weights"):  # without an architecture
                continue
            classifier = load_model(entry, catalog.folder).require_classifier("robustness").eval()
            ball, images = ball_of(entry, norm), load_images(data or entry.dataset, n, dataset=entry.dataset)
            found = {name: round(value, 2) for name, value in compare(classifier, images, ball).items()}
            yield {
                "model_id": entry.model_id, "robust": entry.robust, "norm": norm, "eps": round(ball.eps, 6),
                "images": n, "clean": "", "pgd": "", "apgd": "", "joint": "", **found,
            }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogs", nargs="*", default=["fonts-linf"])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--data", default="")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/attacks.csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.parent.mkdir(exist_ok=True)
    done = pd.read_csv(arguments.out) if arguments.out.exists() else pd.DataFrame(columns=["model_id", "norm"])
    known = set(zip(done["model_id"], done["norm"], strict=True))
    for name in arguments.catalogs:
        for row in rows(load_catalog(name), arguments.data, arguments.images, known):
            pd.DataFrame([row]).to_csv(arguments.out, mode="a", header=not arguments.out.exists(), index=False)


if __name__ == "__main__":
    main()
