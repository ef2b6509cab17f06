"""What alias-free downsampling costs and changes: bundled networks before and after the swap, by filter.

    python benchmarks/alias_free_swap.py [--out docs/evidence/alias-free-swap.csv] [--epochs 2] [--images 1000]

Each bundled network of seed 0, normal and PGD-trained, is taken as it is (`strided`) and with every strided
convolution and pooling swapped by `without_aliasing` (`ideal`, `flc`, `asap`); then each of the four is trained on with
its own recipe, so that the swap is told apart from the training. A row: accuracies on 200 unseen test images, clean and
under PGD-20 at ε = 0.2, the three aliasing scores on 64 images, and the time of a forward pass relative to the strided
network's. Finished rows are kept. `--table` prints means as Markdown.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import torch
from torch import nn

import filterlens
from filterlens.inputs.fonts import load_fonts
from filterlens.loaders.architectures import ARCHITECTURES
from filterlens.training.alias_free import Pooling, without_aliasing
from filterlens.training.evaluation import evaluate
from filterlens.training.loop import TrainingPlan
from filterlens.training.monitor import Monitor
from filterlens.training.recipes import TrainingBatch, recipe

EPS = 0.2  # of FONTS
ROOT = Path(__file__).resolve().parents[1]
POOLINGS: tuple[Pooling | None, ...] = (None, "ideal", "flc", "asap")
SCORES = ("aliasing", "aliasing_relative", "alias_energy")
FIELDS = ("model", "pooling", "epochs", "clean_accuracy", "robust_accuracy", *SCORES, "forward_ratio")


def bundled(name: str) -> nn.Module:
    """Load a network of the bundled zoo, in eval mode."""
    network = filterlens.load_model(f"bundled:fonts/{name}").network
    assert network is not None
    return network.eval().requires_grad_()


def train_on(model: nn.Module, plan: TrainingPlan) -> None:
    """Go on with a network's own recipe at a fifth of its learning rate, which falls to 0."""
    drawn = load_fonts(plan.images, plan.seed + 100, split="train")
    images, labels = torch.from_numpy(drawn.pixels), torch.from_numpy(drawn.labels)
    generator = torch.Generator().manual_seed(plan.seed)
    optimiser = torch.optim.AdamW(model.parameters(), plan.learning_rate / 5, weight_decay=plan.weight_decay)
    batches = [
        b for _ in range(plan.epochs) for b in torch.randperm(len(labels), generator=generator).split(plan.batch_size)
    ]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(batches))
    for rows in batches:
        model.train()
        loss = recipe(plan.recipe)(model, TrainingBatch(images[rows], labels[rows]), plan.budget, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()


def measure(model: nn.Module, strided: nn.Module) -> dict[str, float]:
    """Accuracies, aliasing and time of a network."""
    drawn = load_fonts(200, 1)
    images, labels = torch.from_numpy(drawn.pixels), torch.from_numpy(drawn.labels)
    found = evaluate(model, images, labels, eps=EPS, steps=20, restarts=1)
    scores = Monitor(model, images[:64], lens="downsampling")().model
    return {
        "clean_accuracy": found.clean_accuracy,
        "robust_accuracy": found.robust_accuracy,
        **{name: scores[name] for name in SCORES},
        "forward_ratio": quickest(model, images) / quickest(strided, images),
    }


def quickest(model: nn.Module, images: torch.Tensor, repeats: int = 5) -> float:
    """Least processor time of a forward pass."""
    clock: Callable[[], float] = time.process_time
    best = float("inf")
    with torch.no_grad():
        for _ in range(repeats):
            start = clock()
            model(images)
            best = min(best, clock() - start)
    return best


def run(out: Path, architectures: Sequence[str], epochs: int, images: int) -> None:
    """Add the rows that are not there yet."""
    done = {(row["model"], row["pooling"], row["epochs"]) for row in read(out)}
    if not out.exists():
        out.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    for architecture, how, trained, pooling in product(architectures, ("normal", "pgd"), (0, epochs), POOLINGS):
        name = f"{architecture}-{how}-s0"
        facts = (name, pooling or "strided", str(trained))
        if facts in done:
            continue
        strided = bundled(name)
        model = strided if pooling is None else without_aliasing(strided, pooling=pooling)[0].eval()
        if trained:
            train_on(model, TrainingPlan(how, architecture, epochs=trained, images=images, eps=EPS))
        measured = {key: f"{value:.4g}" for key, value in measure(model, strided).items()}
        with out.open("a", newline="", encoding="utf-8") as file:
            row = dict(zip(FIELDS[:3], facts, strict=True)) | measured
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(row)


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(rows: list[dict[str, str]]) -> str:
    """Means over architectures, by training, filter and epochs trained on."""
    lines = [
        "| networks | downsampling | trained on | clean % | PGD-20 % | aliasing | relative | alias energy | forward |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["model"].split("-")[1], row["epochs"], row["pooling"]), []).append(row)
    for (training, epochs, pooling), own in groups.items():
        mean = {name: sum(float(row[name]) for row in own) / len(own) for name in FIELDS[3:]}
        numbers = [f"{100 * mean[name]:.1f}" for name in FIELDS[3:5]]
        numbers += [f"{mean[name]:.2g}" for name in SCORES]
        told = f"{epochs} epochs" if epochs != "0" else "no"
        lines.append(
            f"| {len(own)} {training} | {pooling} | {told} | {' | '.join(numbers)} | {mean['forward_ratio']:.1f} x |"
        )
    return "\n".join([*lines[:2], *sorted(lines[2:], key=lambda line: line.split("|")[1:4:2])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "evidence" / "alias-free-swap.csv")
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.table:
        print(table(read(options.out)))
    else:
        run(options.out, options.architectures, options.epochs, options.images)


if __name__ == "__main__":
    main()
