"""Whether scores that need no attack predict how robust networks of other architectures are.

    python benchmarks/prediction.py --data cifar10_jpeg.zip [--work reports/prediction] [--out docs/evidence]

Trains 20 robust networks on 8,000 images of CIFAR-10 (four architectures, five radii of FGSM with random start),
measures their accuracy under PGD-20 at 8/255 on the 512 bundled test images, and audits them for filters and
downsampling (weights and clean feature maps). The report's ridge regression leaves each architecture out in
turn. Writes `prediction-networks.csv`, a row a network, and `prediction.csv`, the table "What predicts robustness".
Half an hour of one core; goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import pandas as pd
import torch
from torch import Tensor

import filterlens
from filterlens.inputs.bundled import bundled_cifar10
from filterlens.process.files import write_atomically
from filterlens.training.evaluation import evaluate
from filterlens.training.loop import train
from filterlens.training.plan import TrainingPlan

EVIDENCE = Path(__file__).resolve().parents[1] / "docs" / "evidence"
ARCHITECTURES: Final = ("vgg_maxpool", "resnet_strided", "preact_resnet", "wide_resnet_avgpool")
RADII: Final = (2, 4, 6, 8, 12)  # 255ths
EPS: Final = 8 / 255
IMAGES: Final = 512


def plans(data: str) -> dict[str, TrainingPlan]:
    """Every training by name; each has a seed of its own."""
    settings = [(architecture, radius) for radius in RADII for architecture in ARCHITECTURES]
    return {
        f"{architecture}-eps{radius}": TrainingPlan.for_photographs(
            "fgsm",
            architecture,
            data,
            seed=seed,
            eps=radius / 255,
            weight_decay=0.004,
            epochs=5,
            images=8_000,
            test_images=1,
            test_steps=1,
        )
        for seed, (architecture, radius) in enumerate(settings)
    }


def network(item: tuple[str, TrainingPlan], work: Path) -> dict[str, object]:
    """Train one network and measure it; its catalog's row."""
    name, plan = item
    known = work / name / "row.json"
    if known.is_file():
        row: dict[str, object] = json.loads(known.read_text(encoding="utf-8"))
        return row
    torch.set_num_threads(1)
    trained = train(plan, work / name)
    measured = evaluate(trained.model, *_test_images(), eps=EPS, steps=20, restarts=1)
    print(f"{name}: {measured.clean_accuracy:.3f} clean, {measured.robust_accuracy:.3f} robust", flush=True)
    row = {
        "model_id": name,
        "source": f"bundled:{plan.architecture}?weights={(work / name / 'weights.safetensors').resolve()}",
        "dataset": "cifar10",
        "threat_model": "Linf",
        "eps": "8/255",
        "architecture": plan.architecture,
        "robust": "true",
        "clean_acc": f"{100 * measured.clean_accuracy:.2f}",
        "robust_acc": f"{100 * measured.robust_accuracy:.2f}",
    }
    write_atomically(known, json.dumps(row))
    return row


def _test_images() -> tuple[Tensor, Tensor]:
    drawn = bundled_cifar10(IMAGES)
    return torch.from_numpy(drawn.pixels), torch.from_numpy(drawn.labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10's training images, as `filterlens train` takes them")
    parser.add_argument("--work", type=Path, default=Path("reports") / "prediction")
    parser.add_argument("--out", type=Path, default=EVIDENCE)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(partial(network, work=args.work), plans(args.data).items()))
    catalog = args.work / "networks.csv"
    write_atomically(catalog, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
    run = args.work / "audit"
    settings = filterlens.RunSettings(data="cifar10-bundled-512")
    filterlens.audit(catalog, run, lenses=["filters", "downsampling"], jobs=args.jobs, settings=settings)
    models = (
        filterlens.Run(run)
        .models.replace("", float("nan"))
        .dropna(axis=1, how="all")
        .drop(columns="source", errors="ignore")
    )
    args.out.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out / "prediction-networks.csv", models.to_csv(float_format="%.6g", lineterminator="\n"))
    write_atomically(args.out / "prediction.csv", (run / "tables" / "predictors.csv").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
