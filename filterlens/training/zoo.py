"""The bundled zoo: small networks on FONTS, robust ones with their normal partners, and four that are neither."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from filterlens.catalogs import shipped_folder
from filterlens.inputs.fonts import load_fonts
from filterlens.loaders.architectures import ARCHITECTURES, build
from filterlens.process.files import write_atomically
from filterlens.training.evaluation import Accuracy, evaluate
from filterlens.training.loop import TrainingPlan, train

__all__ = ["EPS", "MEMBERS", "ZooModel", "load_member", "measure_accuracy", "train_zoo"]

EPS: Final = 0.2
_CARD: Final = """\
# The bundled zoo: `fonts-linf`

{count} small networks (40–60 thousand parameters) on FONTS: letters A–J of 22 typefaces, 28 x 28, under random affine
transformations (`docs/data.md`). `make zoo` trains them again. float32, safetensors; each file's metadata holds its
architecture and its whole plan.

| model | recipe | seed | ε trained | epoch | clean % | robust % | robust loss |
|---|---|---|---|---|---|---|---|
{rows}

- Accuracies: {images} test images that no log has seen (seed 1), L∞ PGD with ε = {eps},
  {steps} steps of 2.5 ε / {steps}, {restarts} restarts, the worst of all iterates; float32.
- `normal` and `pgd` of one architecture and seed are a matched pair: same initialisation, images, epochs and
  optimiser. `trades` is paired with the normal model of its architecture and seed.
- `fgsm-before` and `fgsm-collapsed` are successive epochs of one training of 16, with ε = 0.3 and a single gradient
  step: catastrophic overfitting, which costs clean accuracy too. They, `on-manifold` and `transformations` are listed
  with `robust` empty: they are looked at, and not paired.
- Two settings were chosen by looking at results, so do not read these rows as what the method gives untuned. TRADES:
  β = 6, the paper's, gave 94.5 % clean and 55.0 % robust on these same test images; β = 2 is kept. FGSM: of nine
  settings of ε, step, epochs and architecture, five run to the end and four stopped early, three did not collapse or
  never became robust, one had begun to fall when it ended, and this one collapsed; its two epochs were picked from
  its log. The collapsed model is the only one below 90 % clean accuracy.
- Recipe: {epochs} epochs over {train_images} images, batches of {batch_size}, AdamW with learning rate {learning_rate}
  and weight decay {weight_decay}, linear rise and cosine fall; ε and η rise over the first {warmup:.0%} of the steps;
  attacks of {attack_steps} steps, their forward passes in bfloat16, weights and updates in float32.
- Cost: {minutes:.0f} minutes of training, epochs' evaluations included, summed over single-thread processes,
  two at a time, on {machine}, shared with other work.
- Versions: Python {python}, torch {torch}.

The weights are the same again only on the same machine and versions; elsewhere floating point differs, and accuracies
come out alike.
"""
_BASE: Final = TrainingPlan("normal", "preact_resnet", epochs=12, images=8000, eps=EPS, half_precision=True)
_RESTARTS: Final = 5
_STEPS: Final = 20
_MEASURED_SEED: Final = 1
_BEFORE: Final = 10  # the last epoch before the collapse


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A model of the zoo.

    Parameters
    ----------
    name
        Its id and file name.
    plan
        How it is trained.
    epoch
        Which epoch's weights it has; None is the last.
    robust
        As in the catalog: None for models that are listed but not compared.
    match
        Name of its normal partner.
    """

    name: str
    plan: TrainingPlan
    epoch: int | None = None
    robust: bool | None = None
    match: str = ""


def _members() -> tuple[ZooModel, ...]:
    members = []
    for architecture in ARCHITECTURES:
        for seed in (0, 1):
            plan = replace(_BASE, architecture=architecture, seed=seed)
            partner = f"{architecture}-normal-s{seed}"
            members += [
                ZooModel(partner, plan, robust=False),
                ZooModel(f"{architecture}-pgd-s{seed}", replace(plan, recipe="pgd"), robust=True, match=partner),
            ]
    special = replace(_BASE, seed=0)
    fgsm = replace(special, recipe="fgsm", eps=0.3, epochs=16)
    return (
        *members,
        ZooModel(
            "preact_resnet-trades-s0",
            replace(special, recipe="trades", beta=2.0),
            robust=True,
            match="preact_resnet-normal-s0",
        ),
        ZooModel("preact_resnet-fgsm-before-s0", fgsm, epoch=_BEFORE),
        ZooModel("preact_resnet-fgsm-collapsed-s0", fgsm, epoch=_BEFORE + 1),
        ZooModel("preact_resnet-on-manifold-s0", replace(special, recipe="on-manifold")),
        ZooModel("preact_resnet-transformations-s0", replace(special, recipe="transformations")),
    )


MEMBERS: Final = _members()


def train_zoo(
    out: Path,
    *,
    work: Path | None = None,
    jobs: int = 2,
    members: tuple[ZooModel, ...] = MEMBERS,
    images: int = 200,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Train every member, measure it, and write weights, catalog and card.

    Parameters
    ----------
    out
        Folder for NAME.safetensors and the card `README.md`; the catalog is written beside it, as OUT.csv.
    work
        Folder of the trainings with their logs; None is `trained/zoo`. Trainings that are there are not repeated.
    jobs
        Processes, each with one thread.
    members
        Which models; trainings that members share are run once.
    images
        Test images that the accuracies are measured on.
    progress
        Called with a name, trainings and measurements done, and their total.

    Returns
    -------
        The card's path.
    """
    work = Path("trained") / "zoo" if work is None else work
    plans = list(dict.fromkeys(member.plan for member in members))
    total = len(plans) + len(members)
    done = 0
    measured: dict[str, Accuracy] = {}
    out.mkdir(parents=True, exist_ok=True)
    # spawned, because a forked torch may hang; one thread each, because the networks are small
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        for future in as_completed([pool.submit(_train, plan, work) for plan in plans]):
            done += 1
            _report_progress(progress, future.result(), done, total)
        waiting = {pool.submit(_publish, member, work, out, images): member for member in members}
        for measurement in as_completed(waiting):
            done += 1
            measured[waiting[measurement].name] = measurement.result()
            _report_progress(progress, waiting[measurement].name, done, total)
    write_atomically(out.with_suffix(".csv"), _catalog(out.name, members, measured))
    card = out / "README.md"
    write_atomically(card, _card(members, measured, work, images))
    return card


def load_member(weights: Path) -> nn.Module:
    """Load a bundled model from its `.safetensors` file; in training mode, as it was built."""
    with safe_open(weights, framework="pt") as file:
        model = build(file.metadata()["architecture"])
    model.load_state_dict(load_file(weights))
    return model


def measure_accuracy(weights: Path, *, images: int = 200, restarts: int = _RESTARTS, eps: float = EPS) -> Accuracy:
    """Measure a bundled model under PGD-20 on test images that the logs of its training have not seen.

    Parameters
    ----------
    weights
        A bundled `.safetensors` file.
    images, restarts, eps
        Settings of the attack.
    """
    model = load_member(weights)
    drawn = load_fonts(images, _MEASURED_SEED)
    pixels, labels = torch.from_numpy(drawn.pixels), torch.from_numpy(drawn.labels)
    return evaluate(
        model.to(memory_format=torch.channels_last), pixels, labels, eps=eps, steps=_STEPS, restarts=restarts
    )


def _one_thread() -> None:
    torch.set_num_threads(1)


def _report_progress(progress: Callable[[str, int, int], None] | None, name: str, done: int, total: int) -> None:
    if progress is not None:
        progress(name, done, total)


def _folder(plan: TrainingPlan, work: Path) -> Path:
    return work / f"{plan.architecture}-{plan.recipe}-s{plan.seed}"


def _train(plan: TrainingPlan, work: Path) -> str:
    folder = _folder(plan, work)
    train(plan, folder, checkpoints=True)
    return folder.name


def _publish(member: ZooModel, work: Path, out: Path, images: int) -> Accuracy:
    """Copy a member's weights into the zoo, without what is only needed to go on training, and measure them."""
    folder = _folder(member.plan, work)
    log = _log(folder)
    epoch = len(log) - 1 if member.epoch is None else member.epoch
    source = folder / "weights.safetensors"
    if member.epoch is not None:
        source = folder / "checkpoints" / f"epoch-{epoch:03d}.safetensors"
    metadata = {
        "architecture": member.plan.architecture,
        "recipe": member.plan.recipe,
        "seed": str(member.plan.seed),
        "eps": str(member.plan.eps),
        "epoch": str(epoch),
        "in_channels": "1",
        "classes": "10",
        "torch": torch.__version__,
        "plan": json.dumps(asdict(member.plan)),
    }
    target = out / f"{member.name}.safetensors"
    save_file(load_file(source), target, metadata)
    return measure_accuracy(target, images=images, eps=EPS)


def _log(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _catalog(name: str, members: tuple[ZooModel, ...], measured: dict[str, Accuracy]) -> str:
    table = io.StringIO()
    columns = ["model_id", "source", "dataset", "threat_model", "eps", "architecture", "robust", "match"]
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*columns, "match_rule", "clean_acc", "robust_acc", "paper"])
    for member in members:
        found, plan = measured[member.name], member.plan
        robust = "" if member.robust is None else str(member.robust).lower()
        accuracies = [f"{100 * found.clean_accuracy:.1f}", f"{100 * found.robust_accuracy:.1f}"]
        row = [member.name, f"bundled:fonts/{member.name}", "fonts", "Linf", EPS, plan.architecture, robust]
        writer.writerow([*row, member.match, "exact" if member.match else "", *accuracies, f"bundled: {name}"])
    return table.getvalue()


def _card(members: tuple[ZooModel, ...], measured: dict[str, Accuracy], work: Path, images: int) -> str:
    trained = sum(
        row["seconds"] for plan in dict.fromkeys(m.plan for m in members) for row in _log(_folder(plan, work))
    )
    rows = [
        f"| `{member.name}` | {member.plan.recipe} | {member.plan.seed} | {member.plan.eps} | "
        f"{'last' if member.epoch is None else member.epoch} | {100 * measured[member.name].clean_accuracy:.1f} | "
        f"{100 * measured[member.name].robust_accuracy:.1f} | {measured[member.name].robust_loss:.3f} |"
        for member in members
    ]
    return _CARD.format(
        count=len(members),
        rows="\n".join(rows),
        images=images,
        minutes=trained / 60,
        python=platform.python_version(),
        torch=torch.__version__,
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        epochs=_BASE.epochs,
        train_images=_BASE.images,
        batch_size=_BASE.batch_size,
        learning_rate=_BASE.learning_rate,
        weight_decay=_BASE.weight_decay,
        warmup=_BASE.warmup,
        attack_steps=_BASE.steps,
        eps=EPS,
        steps=_STEPS,
        restarts=_RESTARTS,
    )


if __name__ == "__main__":
    train_zoo(shipped_folder() / "fonts-linf")
