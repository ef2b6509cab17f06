"""Whole trainings of FONTS networks, some of which collapse, and what each signal of a collapse does in every epoch.

    python benchmarks/collapse.py [--held-out] [--work reports/collapse] [--csv FILE] [NAME ...]

`--held-out` runs other seeds and one architecture more, and writes docs/evidence/collapse-held-out.csv: rules are
chosen on the first set and judged on this one. Its trainings alternate between collapsing and healthy settings, so that
however many of them are done, they are of both kinds.

Goes on where it was stopped; names choose trainings. The networks are the bundled architectures with a stem of
stride 2, at a quarter of the cost. Accuracy under PGD-20 (the truth) is measured on images that no signal sees, every
signal on one fixed batch of 64 other images, PGD-2 on 256 of them too; seconds are of processor time.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from filterlens.inputs.fonts import load_fonts
from filterlens.loaders.architectures import ARCHITECTURES, build
from filterlens.process.files import write_atomically
from filterlens.training import CollapseMonitor, Monitor
from filterlens.training.collapse import SIGNALS
from filterlens.training.evaluation import evaluate
from filterlens.training.loop import train
from filterlens.training.plan import TrainingPlan

EVIDENCE = Path(__file__).resolve().parents[1] / "docs" / "evidence"
ARCHITECTURES_USED = ("resnet_strided", "vgg_maxpool", "wide_resnet_avgpool")
HELD_OUT_ARCHITECTURES = (*ARCHITECTURES_USED, "preact_resnet")
EPS = 0.15  # of every measurement, so that trainings at other radii can be compared
BASE = TrainingPlan(
    "fgsm", "", epochs=12, images=2000, batch_size=32, learning_rate=0.01, eps=0.2, steps=2, test_images=1, test_steps=1
)
COLLAPSING = {"warmup": 0.7, "fgsm_step": 1.0, "fgsm_random_start": False}
SETTINGS: dict[str, dict[str, object]] = {
    "fgsm-0.5": {"eps": 0.5, **COLLAPSING},
    "pgd-2": {"recipe": "pgd"},
    "fgsm-0.4": {"eps": 0.4, **COLLAPSING},
    "free": {"recipe": "free"},
    "normal": {"recipe": "normal"},
    "fgsm-0.5-again": {"eps": 0.5, **COLLAPSING},
    "trades": {"recipe": "trades", "eps": 0.15, "steps": 4, "beta": 2.0},
    "fgsm-0.4-again": {"eps": 0.4, **COLLAPSING},
    "fgsm-0.1": {"eps": 0.1},
    "pgd-4": {"recipe": "pgd", "eps": 0.15, "steps": 4},
}
HELD_OUT_ORDER = (
    "fgsm-0.5", "pgd-4", "fgsm-0.4", "trades", "pgd-2", "free", "fgsm-0.5-again", "fgsm-0.1", "fgsm-0.4-again", "normal"
)  # fmt: skip
Pair = tuple[Tensor, Tensor]


def plan(setting: str, architecture: str, seed: int) -> TrainingPlan:
    return replace(BASE, architecture=f"{architecture}+stem", seed=seed, **SETTINGS[setting])  # type: ignore[arg-type]


def plans() -> dict[str, TrainingPlan]:
    """Every training by name: each setting on each architecture, each with a seed of its own."""
    return {
        f"{setting}-{architecture}": plan(setting, architecture, 10 * i + j)
        for i, setting in enumerate(SETTINGS)
        for j, architecture in enumerate(ARCHITECTURES_USED)
    }


def held_out_plans() -> dict[str, TrainingPlan]:
    """Name the same with other seeds and one architecture more: a round has every setting once."""
    found = {}
    for turn, _ in enumerate(HELD_OUT_ARCHITECTURES):
        for i, setting in enumerate(HELD_OUT_ORDER):
            architecture = HELD_OUT_ARCHITECTURES[(i + turn) % len(HELD_OUT_ARCHITECTURES)]
            found[f"{setting}-{architecture}"] = plan(setting, architecture, 1000 + 10 * turn + i)
    return found


def with_strided_stem(architecture: str, in_channels: int, classes: int) -> nn.Module:
    """Make a bundled network whose first convolution has stride 2."""
    network = build(architecture, in_channels=in_channels, classes=classes)
    stem = network.get_submodule("0")
    assert isinstance(stem, nn.Conv2d)
    stem.stride = (2, 2)
    return network


def fonts(n: int, seed: int) -> Pair:
    drawn = load_fonts(n, seed)
    return torch.from_numpy(drawn.pixels), torch.from_numpy(drawn.labels)


def measure(model: nn.Module, batch: Pair, held_out: Pair) -> dict[str, float]:
    """Accuracy on held-out images, every signal on the batch, and the seconds of each signal."""
    truth = evaluate(model, *held_out, eps=EPS)
    row = {"clean_accuracy": truth.clean_accuracy, "pgd20_accuracy": truth.robust_accuracy}
    signals: dict[str, Callable[[], dict[str, float]]] = {
        "aliasing": lambda: Monitor(model, batch[0], lens="downsampling")().model,
        "pgd20_error": lambda: {"pgd20_error": 1 - evaluate(model, *batch, eps=EPS).robust_accuracy},
    }
    for name in SIGNALS:
        monitor = CollapseMonitor(model, *batch, eps=EPS, signal=name)
        signals[name] = partial(lambda name, monitor: {name: monitor.score()}, name, monitor)
    seconds = {}
    for name, signal in signals.items():
        began = time.process_time()
        row |= signal()
        seconds[f"seconds_{name}"] = time.process_time() - began
    return row | seconds


def curve(name: str, training: TrainingPlan, work: Path) -> list[dict[str, object]]:
    """Train, then measure the weights of each epoch."""
    trained = train(training, work / name, checkpoints=True)
    batch, large, held_out = fonts(64, seed=1), fonts(256, seed=1), fonts(128, seed=2)
    rows: list[dict[str, object]] = []
    for epoch, log in enumerate(trained.log):
        trained.model.load_state_dict(load_file(work / name / "checkpoints" / f"epoch-{epoch:03d}.safetensors"))
        row = {"train_loss": log["train_loss"]} | measure(trained.model, batch, held_out)
        row["pgd2_error_256"] = CollapseMonitor(trained.model, *large, eps=EPS, signal="pgd2_error").score()
        about: dict[str, object] = {
            "training": name,
            "recipe": training.recipe,
            "architecture": training.architecture.removesuffix("+stem"),
        }
        rows.append(about | {"epoch": epoch} | {key: f"{value:.4g}" for key, value in row.items()})
    return rows


def write(path: Path, rows: list[dict[str, object]]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, table.getvalue())


def read(path: Path) -> list[dict[str, object]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [dict(row) for row in csv.DictReader(file)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of the names of the trainings to run")
    parser.add_argument("--held-out", action="store_true", help="the trainings that no rule was chosen on")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    work = args.work or Path("reports") / ("collapse-held-out" if args.held_out else "collapse")
    out = args.csv or EVIDENCE / f"collapse-{'held-out' if args.held_out else 'curves'}.csv"
    chosen = held_out_plans() if args.held_out else plans()
    torch.set_num_threads(1)
    for architecture in HELD_OUT_ARCHITECTURES:
        ARCHITECTURES[f"{architecture}+stem"] = partial(with_strided_stem, architecture)
    for name, training in chosen.items():
        table = work / name / "curve.csv"
        if not table.is_file() and (not args.names or any(part in name for part in args.names)):
            write(table, curve(name, training, work))
            print(name, flush=True)
            done = [work / other / "curve.csv" for other in chosen]
            write(out, [row for path in done if path.is_file() for row in read(path)])


if __name__ == "__main__":
    main()
