"""Zoos of small networks, trained in matched pairs, measured, and written as a catalog with its weights and card."""

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
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from filterlens.errors import InputError
from filterlens.inputs import Images
from filterlens.loaders.architectures import build_as_said
from filterlens.process.files import write_atomically
from filterlens.training.data import load_data
from filterlens.training.evaluation import Accuracy, evaluate
from filterlens.training.loop import train
from filterlens.training.plan import TrainingPlan

__all__ = ["Zoo", "ZooModel", "measure_accuracy", "train_zoo"]

_STEPS: Final = 20


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
    training
        Of an epoch that is one of several of one training, which: the catalog says both.
    """

    name: str
    plan: TrainingPlan
    epoch: int | None = None
    robust: bool | None = None
    match: str = ""
    training: str = ""


@dataclass(frozen=True, slots=True)
class Zoo:
    """Networks that are trained, published and listed together.

    Parameters
    ----------
    name
        Of the catalog, and of the folder of its weights.
    dataset
        What the networks are trained on, as catalogs name it; sources are `bundled:DATASET/NAME`.
    eps
        L∞ radius at which all are measured.
    members
        The networks, a pair's two in a row.
    card
        Text of the card, whose braces are filled by `train_zoo`.
    test_images
        Gives n labelled images to measure on, none of which a network was trained on.
    half
        Publish weights in float16.
    restarts
        Of the attack that they are measured under.
    """

    name: str
    dataset: str
    eps: float
    members: tuple[ZooModel, ...]
    card: str
    test_images: Callable[[int], Images]
    half: bool = False
    restarts: int = 5

    def first_pairs(self, pairs: int | None) -> tuple[ZooModel, ...]:
        """Members that the first so many pairs are made of; None gives every member."""
        if pairs is None:
            return self.members
        matched = [member for member in self.members if member.match][:pairs]
        names = {member.name for member in matched} | {member.match for member in matched}
        return tuple(member for member in self.members if member.name in names)


def train_zoo(
    zoo: Zoo,
    out: Path,
    *,
    data: str = "",
    pairs: int | None = None,
    work: Path | None = None,
    jobs: int = 2,
    images: int = 200,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Train every member, measure it, and write weights, catalog and card.

    Parameters
    ----------
    zoo
        Which one.
    out
        Folder for NAME.safetensors, the card `README.md`, and `logs.csv` with every epoch of every training; the
        catalog is written beside it, as OUT.csv.
    data
        Where the training images are, as `filterlens.inputs.load_split` takes it; empty as the plans have it.
    pairs
        Only the members of the first so many pairs.
    work
        Folder of the trainings with their logs; None is `trained/zoo` for FONTS, else `trained/NAME`. Trainings that
        are there are not repeated, one that was stopped goes on.
    jobs
        Processes, each with one thread.
    images
        Test images that the accuracies are measured on.
    progress
        Called with a name, trainings and measurements done, and their total.

    Returns
    -------
        The card's path.

    Raises
    ------
    InputError
        No pair is asked for, or a training is refused, see `train`.
    """
    if pairs is not None and pairs < 1:
        raise InputError(f"{pairs} pairs are none: ask for at least one")
    work = Path("trained") / ("zoo" if zoo.dataset == "fonts" else zoo.name) if work is None else work
    members = zoo.first_pairs(pairs)
    plans = list(dict.fromkeys(member.plan for member in members))
    total = len(plans) + len(members)
    done = 0
    measured: dict[str, Accuracy] = {}
    out.mkdir(parents=True, exist_ok=True)
    # spawned, because a forked torch may hang; one thread each, because the networks are small
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        for future in as_completed([pool.submit(_train, plan, data, work) for plan in plans]):
            done += 1
            _report_progress(progress, future.result(), done, total)
        waiting = {pool.submit(_publish, zoo, member, work, out, images): member for member in members}
        for measurement in as_completed(waiting):
            done += 1
            measured[waiting[measurement].name] = measurement.result()
            _report_progress(progress, waiting[measurement].name, done, total)
    write_atomically(out.with_suffix(".csv"), _catalog(zoo, members, measured))
    card = out / "README.md"
    write_atomically(card, _card(zoo, members, measured, work, images))
    write_atomically(out / "logs.csv", _logs(plans, work))
    return card


def measure_accuracy(zoo: Zoo, weights: Path, *, images: int = 200) -> Accuracy:
    """Measure a bundled model under PGD-20 on test images that it was not trained on.

    Parameters
    ----------
    zoo
        The zoo that it belongs to: its test images and ε.
    weights
        A bundled `.safetensors` file.
    images
        How many.
    """
    with safe_open(weights, framework="pt") as file:
        model = build_as_said(file.metadata())
    model.load_state_dict(load_file(weights))
    drawn = zoo.test_images(images)
    pixels, labels = torch.from_numpy(drawn.pixels), torch.from_numpy(drawn.labels)
    return evaluate(
        model.to(memory_format=torch.channels_last), pixels, labels, eps=zoo.eps, steps=_STEPS, restarts=zoo.restarts
    )


def _one_thread() -> None:
    torch.set_num_threads(1)


def _report_progress(progress: Callable[[str, int, int], None] | None, name: str, done: int, total: int) -> None:
    if progress is not None:
        progress(name, done, total)


def _folder(plan: TrainingPlan, work: Path) -> Path:
    return work / f"{plan.architecture}-{plan.recipe}-s{plan.seed}"


def _train(plan: TrainingPlan, data: str, work: Path) -> str:
    folder = _folder(plan, work)
    train(replace(plan, data=data or plan.data), folder, checkpoints=True, load=_load_once)
    return folder.name


_load_once: Final = lru_cache(maxsize=1)(load_data)  # a worker trains many networks on the same images


def _publish(zoo: Zoo, member: ZooModel, work: Path, out: Path, images: int) -> Accuracy:
    """Copy a member's weights into the zoo, without what is only needed to go on training, and measure them."""
    folder = _folder(member.plan, work)
    log = _log(folder)
    epoch = len(log) - 1 if member.epoch is None else member.epoch
    source = folder / "weights.safetensors"
    if member.epoch is not None:
        source = folder / "checkpoints" / f"epoch-{epoch:03d}.safetensors"
    with safe_open(source, framework="pt") as file:
        said = file.metadata()
    kept = ("architecture", "recipe", "seed", "eps", "in_channels", "classes", "width", "blocks", "torch")
    metadata = {name: said[name] for name in (*kept, "data_digest", "log")}
    metadata |= {"epoch": str(epoch), "plan": json.dumps(asdict(member.plan))}
    target = out / f"{member.name}.safetensors"
    save_file({name: _stored(value, half=zoo.half) for name, value in load_file(source).items()}, target, metadata)
    return measure_accuracy(zoo, target, images=images)


def _stored(value: Tensor, *, half: bool) -> Tensor:
    return value.half() if half and value.is_floating_point() else value


def _log(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _logs(plans: list[TrainingPlan], work: Path) -> str:
    """Every epoch of every training, as CSV."""
    table = io.StringIO()
    rows = [{"training": _folder(plan, work).name} | row for plan in plans for row in _log(_folder(plan, work))]
    writer = csv.DictWriter(table, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()} for row in rows)
    return table.getvalue()


def _catalog(zoo: Zoo, members: tuple[ZooModel, ...], measured: dict[str, Accuracy]) -> str:
    table = io.StringIO()
    columns = ["model_id", "source", "dataset", "threat_model", "eps", "architecture", "robust", "match"]
    writer = csv.writer(table, lineterminator="\n")
    trajectory = ["epoch", "training"] if any(member.training for member in members) else []
    writer.writerow([*columns, "match_rule", "clean_acc", "robust_acc", "paper", *trajectory])
    eps = "8/255" if zoo.eps == 8 / 255 else zoo.eps
    for member in members:
        found, plan = measured[member.name], member.plan
        robust = "" if member.robust is None else str(member.robust).lower()
        accuracies = [f"{100 * found.clean_accuracy:.1f}", f"{100 * found.robust_accuracy:.1f}"]
        row = [member.name, f"bundled:{zoo.dataset}/{member.name}", zoo.dataset, "Linf", eps, plan.architecture, robust]
        said = [member.match, "exact" if member.match else "", *accuracies, f"bundled: {zoo.name}"]
        place = [member.epoch if member.training else "", member.training] if trajectory else []
        writer.writerow([*row, *said, *place])
    return table.getvalue()


def _card(zoo: Zoo, members: tuple[ZooModel, ...], measured: dict[str, Accuracy], work: Path, images: int) -> str:
    trained = sum(
        row["seconds"] for plan in dict.fromkeys(m.plan for m in members) for row in _log(_folder(plan, work))
    )
    rows = [
        f"| `{member.name}` | {member.plan.recipe} | {member.plan.seed} | {member.plan.eps:.3g} | "
        f"{'last' if member.epoch is None else member.epoch} | {100 * measured[member.name].clean_accuracy:.1f} | "
        f"{100 * measured[member.name].robust_accuracy:.1f} | {measured[member.name].robust_loss:.3f} |"
        for member in members
    ]
    base = members[0].plan
    return zoo.card.format(
        count=len(members),
        rows="\n".join(rows),
        images=images,
        minutes=trained / 60,
        python=platform.python_version(),
        torch=torch.__version__,
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        epochs=base.epochs,
        train_images=base.images,
        batch_size=base.batch_size,
        learning_rate=base.learning_rate,
        weight_decay=base.weight_decay,
        warmup=base.warmup,
        attack_steps=base.steps,
        precision=_precision(bfloat16=base.mixed_precision),
        attack_precision=_precision(bfloat16=base.half_precision),
        eps=zoo.eps,
        steps=_STEPS,
        restarts=zoo.restarts,
    )


def _precision(*, bfloat16: bool) -> str:
    return "bfloat16" if bfloat16 else "float32"
