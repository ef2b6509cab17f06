"""The study of Stutz2019: is on-manifold robustness generalisation? Train, attack, and hold the claims to numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from filterlens.catalogs import Catalog, Entry
from filterlens.errors import InputError
from filterlens.lens import RunSettings
from filterlens.process.files import write_atomically
from filterlens.runs.executors import Progress
from filterlens.studies.running import Listener, attack_all, executor_of, train_all

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PRESETS", "RECIPES", "Study", "Training", "network", "run_study"]

RECIPES: Final = ("normal", "half", "on-manifold", "transformations")
ARCHITECTURE: Final = "vgg_maxpool"  # the quickest of the bundled ones
EPS: Final = 0.3
_SOURCE: Final = "module:filterlens.studies.manifold:network?weights="
_TABLE: Final = "study.csv"


@dataclass(frozen=True, slots=True)
class Study:
    """How large the study is.

    Parameters
    ----------
    sizes
        Training images and the epochs spent on them.
    seeds
        Trainings of each recipe and size.
    images
        Test images that the lens attacks.
    test_images
        Test images for the test error.
    steps
        Of the attacks in training.
    fast
        Attack with the lens's fast settings.
    batch_size
        Of training.
    """

    sizes: tuple[tuple[int, int], ...]
    seeds: int
    images: int
    test_images: int
    steps: int
    fast: bool
    batch_size: int = 50


PRESETS: Final = {
    "small": Study(((250, 40), (1000, 15), (4000, 6)), seeds=2, images=150, test_images=2000, steps=3, fast=True),
    "full": Study(
        ((250, 120), (500, 80), (1000, 60), (2500, 40), (5000, 30), (10_000, 20)),
        seeds=5, images=1000, test_images=10_000, steps=10, fast=False,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Training:
    """One network of the study; small and picklable."""

    recipe: str
    n_train: int
    epochs: int
    seed: int
    study: Study
    folder: Path
    device: str

    @property
    def model_id(self) -> str:
        """Such as `on-manifold-n1000-s0`."""
        return f"{self.recipe}-n{self.n_train}-s{self.seed}"

    @property
    def place(self) -> Path:
        """Folder of its weights and log."""
        return self.folder / "models" / self.model_id

    @property
    def entry(self) -> Entry:
        """Its row in the study's catalog; half-adversarial networks are the robust partners of normal ones."""
        robust = {"normal": False, "half": True}.get(self.recipe)
        return Entry(
            model_id=self.model_id,
            source=f"{_SOURCE}models/{self.model_id}/weights.safetensors",
            dataset="fonts",
            threat_model="Linf",
            eps=EPS,
            architecture=ARCHITECTURE,
            robust=robust,
            match=f"normal-n{self.n_train}-s{self.seed}" if robust else "",
            match_rule="exact" if robust else "",
        )


def network() -> nn.Module:
    """Make the study's network, freshly initialised: what the catalog's `module:` sources name."""
    from filterlens.loaders.architectures import build

    return build(ARCHITECTURE)


def run_study(
    study: Study, folder: Path, *, jobs: int = 1, device: str = "cpu", listener: Listener = lambda *_: None
) -> Path:
    """Train the study's networks, attack them, and report; what a killed run left is gone on with.

    Parameters
    ----------
    study
        How large; `PRESETS` has `small` (minutes on two cores) and `full` (for a GPU).
    folder
        Becomes an audit's folder with `models/`, `study.csv`, `claims.csv` and `claims.md` beside its report.
    jobs
        Networks trained and attacked at a time, each in a process of its own.
    device
        `cpu`, `cuda`, …
    listener
        Called as `listener(what, done, total)`, counted in networks.

    Returns
    -------
        Path of the report's page.

    Raises
    ------
    InputError
        The device is not there, or the folder holds another study's trainings.
    ReportError
        A worker died twice: the message names its network.
    """
    from filterlens.commands.audit import choose_lenses
    from filterlens.lenses.manifold.figures import FIGURES
    from filterlens.report import write_report
    from filterlens.report.data import read_run
    from filterlens.runs import check_device
    from filterlens.studies.claims import claims_table, study_models, write_claims
    from filterlens.studies.figures import FIGURES as STUDY_FIGURES

    check_device(device)
    executor = executor_of(jobs)
    trainings = _plan(study, folder, device)
    errors = train_all(trainings, train_one, executor=executor, listener=listener)
    rows = [{"model_id": t.model_id, "recipe": t.recipe, "n_train": t.n_train, "seed": t.seed} for t in trainings]
    table = pd.DataFrame(rows)
    table["test_error"] = table["model_id"].map(errors)
    write_atomically(folder / _TABLE, table.to_csv(index=False))
    catalog = Catalog("manifold-study", tuple(t.entry for t in trainings), folder.resolve())
    settings = RunSettings(device=device, data="fonts", allow_code=True)
    lenses = choose_lenses(["manifold"], {"images": study.images, "manifold": "fonts"}, fast=study.fast)
    attack_all(catalog, folder, lenses=lenses, settings=settings, executor=executor, listener=listener)
    models = study_models(read_run(folder))
    write_claims(claims_table(models), folder)
    return write_report(folder, figures=[*FIGURES, *STUDY_FIGURES])


def _plan(study: Study, folder: Path, device: str) -> list[Training]:
    return [
        Training(recipe, n_train, epochs, seed, study, folder, device)
        for n_train, epochs in study.sizes
        for recipe in RECIPES
        for seed in range(study.seeds)
    ]


def train_one(training: Training, progress: Progress) -> float:
    """Train one network, or read what is there; return its test error on images that no training sees.

    Raises
    ------
    InputError
        The folder holds a training of another study.
    """
    import torch

    from filterlens.inputs.fonts import load_fonts
    from filterlens.training.loop import train
    from filterlens.training.plan import TrainingPlan

    study = training.study
    plan = TrainingPlan(
        training.recipe, ARCHITECTURE, seed=training.seed, epochs=training.epochs, images=training.n_train,
        batch_size=study.batch_size, eps=EPS, steps=study.steps, device=training.device, test_images=16, test_steps=1,
    )  # fmt: skip
    facts = {"plan": str(plan), "test_images": study.test_images}
    done = training.place / "test_error.json"
    if done.is_file():
        known = json.loads(done.read_text(encoding="utf-8"))
        if {name: known.get(name) for name in facts} != facts:
            raise InputError(f"{training.place} holds a training of another study: choose another folder with --out")
        return float(known["test_error"])
    trained = train(plan, training.place, progress=lambda step: progress("training", step.done, step.total))
    test = load_fonts(study.test_images, 0, split="test")
    wrong = 0
    with torch.no_grad():
        for start in range(0, len(test), 500):
            logits = trained.model(torch.from_numpy(test.pixels[start : start + 500]))
            wrong += int((logits.argmax(dim=1).numpy() != test.labels[start : start + 500]).sum())
    error = wrong / len(test)
    write_atomically(done, json.dumps(facts | {"test_error": error}))
    return error
