"""What alias-free downsampling costs and changes: bundled networks before and after the swap, by filter.

    python benchmarks/alias_free_swap.py [--out docs/evidence/alias-free-swap.csv] [--epochs 2] [--images 1000]

Each bundled network of seed 0, normal and PGD-trained, is taken as it is (`strided`) and with every strided
convolution and pooling swapped by `without_aliasing` (`ideal`, `flc`, `asap`); then each of the four is trained on with
its own recipe, so that the swap is told apart from the training. A row: accuracies on 200 unseen test images, clean and
under PGD-20 at ε = 0.2, the three aliasing scores on 64 images, and the time of a forward pass relative to the strided
network's. Finished rows are kept. `--table` prints them as Markdown.
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
from filterlens.loaders.alias_free import Pooling, without_aliasing
from filterlens.loaders.architectures import ARCHITECTURES
from filterlens.training.evaluation import evaluate
from filterlens.training.monitor import Monitor
from filterlens.training.plan import TrainingPlan
from filterlens.training.recipes import TrainingBatch, recipe

EPS = 0.2  # of FONTS
ROUNDING = 1e-5  # relative aliasing of float32 maps that do not alias
ROOT = Path(__file__).resolve().parents[1]
POOLINGS: tuple[Pooling | None, ...] = (None, "ideal", "flc", "asap")
SCORES = ("aliasing", "aliasing_relative", "alias_energy")
FIELDS = ("model", "pooling", "epochs", "clean_accuracy", "robust_accuracy", *SCORES, "forward_ratio")


def bundled(name: str) -> nn.Module:
    """Load a network of the zoo on FONTS, in eval mode."""
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
    """One line a network and training; each cell is strided / ideal / flc / asap."""
    by_key = {(row["model"], row["epochs"], row["pooling"]): row for row in rows}
    lines = [
        "| network | trained on | clean % | PGD-20 % | relative aliasing | forward pass, x |",
        "|---|---|---|---|---|---|",
    ]
    for model, epochs in dict.fromkeys((row["model"], row["epochs"]) for row in sorted(rows, key=_order)):
        own = [by_key[model, epochs, pooling or "strided"] for pooling in POOLINGS]
        cells = [" / ".join(f"{100 * float(row[name]):.1f}" for row in own) for name in FIELDS[3:5]]
        aliasing = [float(row["aliasing_relative"]) for row in own]
        cells.append(" / ".join("0" if value < ROUNDING else f"{value:.2g}" for value in aliasing))
        cells.append(" / ".join(f"{float(row['forward_ratio']):.1f}" for row in own))
        lines.append(f"| {model} | {'no' if epochs == '0' else f'{epochs} epochs'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _order(row: dict[str, str]) -> tuple[str, str]:
    return row["model"], row["epochs"]


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
