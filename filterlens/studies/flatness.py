"""The study of Stutz2021: does flatness of the robust loss go with a small robust gap? Train, attack, and tabulate."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from filterlens.catalogs import Catalog, Entry
from filterlens.errors import InputError
from filterlens.lens import RunSettings
from filterlens.process.files import write_atomically
from filterlens.runs.executors import Progress
from filterlens.studies.flatness_table import (
    STOPPED,
    TABLE,
    flatness_claims,
    method_table,
    study_networks,
    write_methods,
)
from filterlens.studies.running import Listener, attack_all, executor_of, train_all

if TYPE_CHECKING:
    from filterlens.inputs import Images
    from filterlens.training.plan import TrainingPlan

__all__ = [
    "METHODS",
    "PRESETS",
    "FlatnessStudy",
    "MethodTraining",
    "run_flatness_study",
    "study_images",
    "train_method",
]

METHODS: Final[dict[str, dict[str, Any]]] = {
    "normal": {"recipe": "normal"},
    "adversarial": {"recipe": "pgd"},
    "half adversarial": {"recipe": "half"},
    "weight decay": {"recipe": "pgd", "weight_decay": 0.5},
    "label smoothing": {"recipe": "pgd", "label_smoothing": 0.3},
    "label noise": {"recipe": "pgd", "label_noise": 0.3},
    "cyclic rate": {"recipe": "pgd", "schedule": "cyclic"},
    "SiLU": {"recipe": "pgd", "activation": "silu"},
    "TRADES β=6": {"recipe": "trades", "beta": 6.0},
    "TRADES β=1": {"recipe": "trades", "beta": 1.0},
    "MART": {"recipe": "mart", "beta": 6.0},
    "AWP γ=0.005": {"recipe": "awp", "gamma": 0.005},
    "AWP γ=0.02": {"recipe": "awp", "gamma": 0.02},
    "free": {"recipe": "free"},
}
"""The methods that are compared, each a few settings of a training; all but `normal` are adversarial."""


@dataclass(frozen=True, slots=True)
class FlatnessStudy:
    """How large the study is.

    Parameters
    ----------
    data, architecture
        As trainings take them.
    images, validation
        Training images, and others for early stopping.
    seeds
        Trainings of each method.
    eps
        L∞ radius of attacks, in training and after it.
    test_images
        Test images, and training images for the gap, that the lenses attack.
    plan
        Other settings of every training; a method's own come before them.
    flatness, robustness
        Options of the lenses.
    methods
        Which of `METHODS`.
    """

    data: str
    architecture: str
    images: int
    validation: int
    seeds: int
    eps: float
    test_images: int
    plan: Mapping[str, Any] = field(default_factory=dict)
    flatness: Mapping[str, Any] = field(default_factory=dict)
    robustness: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = tuple(METHODS)


PRESETS: Final = {
    "small": FlatnessStudy(
        "fonts", "vgg_maxpool", images=256, validation=64, seeds=1, eps=0.1, test_images=96,
        plan={"epochs": 20, "batch_size": 32, "steps": 3, "test_steps": 5, "warmup": 0.2},
        flatness={"steps": 10, "average": 4, "worst": 2, "positions": (0.0,)}, robustness={"restarts": 1},
    ),
    "full": FlatnessStudy(
        "cifar10", "preact_resnet", images=49_000, validation=500, seeds=3, eps=8 / 255, test_images=1000,
        plan={"epochs": 60, "steps": 7, "test_steps": 20, "width": 64, "blocks": 2, "schedule": "cosine"},
        flatness={"clean_flatness": True},
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MethodTraining:
    """One training of the study; small and picklable."""

    method: str
    seed: int
    study: FlatnessStudy
    folder: Path
    device: str

    @property
    def model_id(self) -> str:
        """Such as `awp-0.02-s0`: the method in letters that a file name has."""
        plain = self.method.lower().replace(" β=", "-").replace(" γ=", "-").replace(" ", "-")
        return f"{plain}-s{self.seed}"

    @property
    def place(self) -> Path:
        """Folder of its weights and log."""
        return self.folder / "models" / self.model_id

    @property
    def plan(self) -> TrainingPlan:
        """Everything that decides its weights."""
        from filterlens.training.plan import TrainingPlan

        study = self.study
        fixed = {"seed": self.seed, "images": study.images, "test_images": study.validation, "eps": study.eps}
        said = {**study.plan, **METHODS[self.method], **fixed, "device": self.device}
        recipe = said.pop("recipe")
        if study.data == "fonts":
            return TrainingPlan(recipe, study.architecture, **said)
        return TrainingPlan.for_photographs(recipe, study.architecture, study.data, **said)

    def entries(self) -> tuple[Entry, ...]:
        """Rows of the study's catalog: the network after the last epoch, and that of the epoch it was stopped at."""
        robust = self.method != "normal"
        matched = "" if not robust else f"normal-s{self.seed}-last" if "normal" in self.study.methods else ""
        return tuple(
            Entry(
                model_id=f"{self.model_id}-{stopped}",
                source=f"bundled:{self.study.architecture}?weights=models/{self.model_id}/{stopped}.safetensors",
                dataset=self.study.data,
                threat_model="Linf",
                eps=self.study.eps,
                architecture=self.study.architecture,
                robust=robust,
                match=matched,
                match_rule="exact" if matched else "",
            )
            for stopped in STOPPED
        )


def run_flatness_study(
    study: FlatnessStudy, folder: Path, *, jobs: int = 1, device: str = "cpu", listener: Listener = lambda *_: None
) -> Path:
    """Train the study's networks, measure their flatness and gap, and report; what a killed run left is gone on with.

    Parameters
    ----------
    study
        How large; `PRESETS` has `small` (within an hour on two cores) and `full` (for a GPU).
    folder
        Becomes an audit's folder with `models/`, `trainings.csv`, `methods.csv`, `methods.md`, `claims.csv` and
        `claims.md` beside its report.
    jobs, device, listener
        As `filterlens.studies.manifold.run_study` takes them.

    Returns
    -------
        Path of the report's page.

    Raises
    ------
    InputError
        The device is not there, or the folder holds another study's trainings.
    ReportError
        A worker died twice, or a network could not be attacked: the message names it.
    """
    import pandas as pd

    from filterlens.commands.audit import choose_lenses
    from filterlens.lenses.flatness.figures import FIGURES
    from filterlens.report import write_report
    from filterlens.report.data import read_run
    from filterlens.runs import check_device
    from filterlens.studies.claims import write_claims
    from filterlens.studies.flatness_figure import FIGURES as STUDY_FIGURES

    check_device(device)
    executor = executor_of(jobs)
    trainings = [MethodTraining(m, seed, study, folder, device) for m in study.methods for seed in range(study.seeds)]
    early = train_all(trainings, train_method, executor=executor, listener=listener)
    rows = []
    for training in trainings:
        epochs = training.plan.epochs - 1, early[training.model_id]
        for entry, stopped, epoch in zip(training.entries(), STOPPED, epochs, strict=True):
            rows.append((entry.model_id, training.method, training.seed, stopped, epoch))
    table = pd.DataFrame(rows, columns=["model_id", "method", "seed", "stopped", "epoch"])
    write_atomically(folder / TABLE, table.to_csv(index=False))
    catalog = Catalog("flatness-study", tuple(e for t in trainings for e in t.entries()), folder.resolve())
    lenses = choose_lenses(["flatness"], {"train_data": _write_train_images(study, folder), **study.flatness})
    lenses |= choose_lenses(["robustness"], dict(study.robustness))
    lenses = choose_lenses(lenses, {"images": study.test_images})
    settings = RunSettings(device=device, data=study.data)
    attack_all(catalog, folder, lenses=lenses, settings=settings, executor=executor, listener=listener)
    networks = study_networks(read_run(folder, every=True))
    write_methods(method_table(networks), folder)
    write_claims(flatness_claims(networks), folder)
    return write_report(folder, figures=[*STUDY_FIGURES, *FIGURES])


def train_method(training: MethodTraining, progress: Progress) -> int:
    """Train one network, or read what is there; keep the last epoch's weights and those it would be stopped at.

    Early stopping takes the epoch with the highest accuracy under PGD on validation images, the first of several
    [Rice2020]_; `last.safetensors` and `early.safetensors` are what it leaves.

    Returns
    -------
        The epoch of early stopping, from 0.

    Raises
    ------
    InputError
        The folder holds a training of another study.
    """
    from filterlens.training.loop import train

    done, plan = training.place / "stopped.json", _settings_of(training.plan)
    if done.is_file():
        known = json.loads(done.read_text(encoding="utf-8"))
        if known.get("plan") != plan:
            raise InputError(f"{training.place} holds a training of another study: choose another folder with --out")
        return int(known["epoch"])
    trained = train(
        training.plan, training.place, checkpoints=True, load=_load,
        progress=lambda step: progress("training", step.done, step.total),
    )  # fmt: skip
    accuracies = [row["robust_accuracy"] for row in trained.log]
    epoch = accuracies.index(max(accuracies))
    kept = training.place / "checkpoints"
    for name, number in (("last", len(trained.log) - 1), ("early", epoch)):
        write_atomically(
            training.place / f"{name}.safetensors", (kept / f"epoch-{number:03d}.safetensors").read_bytes()
        )
    write_atomically(done, json.dumps({"plan": plan, "epoch": epoch}))
    for checkpoint in kept.glob("epoch-*.safetensors"):
        checkpoint.unlink()
    return epoch


def _settings_of(plan: TrainingPlan) -> dict[str, Any]:
    """Fields of a plan that are not at their defaults."""
    defaults = {known.name: known.default for known in fields(plan)}
    return {name: value for name, value in asdict(plan).items() if value != defaults[name]}


def study_images(data: str, n: int, validation: int) -> tuple[Images, Images]:
    """Training images that are the same for every seed, and others of the same split for early stopping.

    Raises
    ------
    InputError
        There are not as many.
    """
    from filterlens.inputs import Images, load_images

    found = load_images(data, n + validation, split="train")
    if len(found) < n + validation:
        raise InputError(f"--data {data} has {len(found)} training images: the study wants {n + validation}")
    order = np.random.default_rng(0).permutation(len(found))
    parts = order[:n], order[n:]
    train, held = (Images(found.name, found.pixels[rows], found.labels[rows]) for rows in parts)
    return train, held


@lru_cache(maxsize=1)
def _load(data: str, n: int, held_out: int, *, augment: bool, device: Any, **_: Any) -> Any:  # noqa: ANN401 - `LoadData`
    """Load the study's images: `filterlens.training.data.load_data` would draw others for every seed."""
    import torch

    from filterlens.inputs import data_digest
    from filterlens.training.data import TrainingData
    from filterlens.training.inner_attacks import TrainingBatch

    train, held = (
        TrainingBatch(torch.from_numpy(part.pixels).to(device), torch.from_numpy(part.labels).to(device))
        for part in study_images(data, n, held_out)
    )
    classes = int(train.labels.max()) + 1
    return TrainingData(train, classes=classes, digest=data_digest(data), augment=augment), held


def _write_train_images(study: FlatnessStudy, folder: Path) -> str:
    """Write the first training images, for the gap; return the path of the file."""
    path = folder / "train.npz"
    if not path.is_file():
        train, _ = study_images(study.data, study.images, study.validation)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=train.pixels[: study.test_images], labels=train.labels[: study.test_images])
        write_atomically(path, buffer.getvalue())
    return str(path)
