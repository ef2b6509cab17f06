"""The robustness extractor: what it writes, what it refuses, and the figures of trained networks."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extracting import chosen, context
from torch import nn

from filterlens.attacks import Ball, Norm, pgd
from filterlens.attacks.autoattack import run_autoattack
from filterlens.attacks.evaluation import threat_of
from filterlens.catalogs import Entry, load_catalog
from filterlens.dumps import DumpGroup, DumpReader, DumpWriter
from filterlens.errors import InputError, LensSkipped
from filterlens.inputs.images import Images
from filterlens.lenses.robustness.analyzer import analyze
from filterlens.lenses.robustness.extractor import extract
from filterlens.lenses.robustness.options import RobustnessOptions
from filterlens.loaders.model import Classifier, LoadedModel

SETTINGS = {"fast": True, "batch_size": 8}
ENTRY = Entry(model_id="small", source="small.pt", threat_model="Linf", eps=0.03)


def small_model(classes: int = 5) -> LoadedModel:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
        nn.Linear(72, classes),
    )  # fmt: skip
    network.get_buffer("1.running_mean").normal_(0, 0.3)
    network.get_buffer("1.running_var").uniform_(0.5, 2)
    classifier = Classifier(network, (0.5, 0.5, 0.5), (0.05, 0.05, 0.05)).eval()
    return LoadedModel("small", "small.pt", "", network.state_dict(), classifier)


def running(model: LoadedModel) -> Classifier:
    assert model.classifier is not None
    return model.classifier


def labelled(model: LoadedModel, n: int = 20) -> Images:
    """Random images under the model's own labels, but for every fourth."""
    generator = np.random.default_rng(1)
    pixels = generator.random((n, 3, 6, 6), dtype=np.float32)
    with torch.no_grad():
        labels = running(model)(torch.from_numpy(pixels)).argmax(dim=1).numpy()
    labels[::4] = (labels[::4] + 1) % 4
    return Images("random", pixels, labels)


def measured(
    path: Path, model: LoadedModel, data: Images | None, settings: Mapping[str, Any] = SETTINGS, **row: object
) -> DumpGroup:
    entry = ENTRY.model_copy(update=row)
    with DumpWriter(path, {"model_id": "small"}) as dump:
        options, run = chosen(RobustnessOptions, settings)
        extract(context(model, entry, data, options, dump.lens("robustness", {}), settings=run))
    return DumpReader(path).lens("robustness")


def scores(group: DumpGroup) -> dict[str, float]:
    return {str(row["metric"]): float(str(row["value"])) for row in analyze(group) if "layer" not in row}


def test_a_dump_holds_clean_and_attacked_logits_and_a_few_images(tmp_path: Path) -> None:
    model = small_model()
    data, before = labelled(model), copy.deepcopy(running(model).state_dict())
    group = measured(tmp_path / "a.h5", model, data)
    with torch.no_grad():
        clean = running(model)(torch.from_numpy(data.pixels)).numpy()
    assert np.allclose(group.read("logits_clean"), clean, atol=1e-5)
    assert np.array_equal(group.read("images_clean"), data.pixels[:8])
    attacked = group.read("images_attacked")
    assert attacked.shape == (8, 3, 6, 6)
    assert np.abs(attacked - data.pixels[:8]).max() == pytest.approx(0.03, abs=1e-6)
    with torch.no_grad():
        logits = running(model)(torch.from_numpy(attacked)).numpy()
    assert np.allclose(group.read("logits_attacked")[:8], logits, atol=1e-4)
    found = scores(group)
    assert found["clean_accuracy"] == 0.75
    assert found["robust_accuracy"] < 0.75
    assert found["robust_loss"] > found["clean_loss"]
    attributes = group.attributes
    assert attributes["data_sha256"] == data.digest
    assert (attributes["restarts"], attributes["steps"], attributes["fast"]) == (1, 20, True)
    assert all(torch.equal(before[name], value) for name, value in running(model).state_dict().items())


def test_batches_of_any_size_give_the_same_logits(tmp_path: Path) -> None:
    model = small_model()
    data = labelled(model)
    whole, parts = (measured(tmp_path / f"{size}.h5", model, data, SETTINGS | {"batch_size": size}) for size in (20, 3))
    assert np.allclose(whole.read("logits_attacked"), parts.read("logits_attacked"), atol=1e-4)
    assert np.allclose(whole.read("images_attacked"), parts.read("images_attacked"), atol=1e-5)


def test_more_restarts_than_the_fast_version_never_lower_the_loss(tmp_path: Path) -> None:
    model = small_model()
    data = labelled(model, 8)
    fast, paper = (
        scores(measured(tmp_path / f"{flag}.h5", model, data, SETTINGS | {"fast": flag})) for flag in (True, False)
    )
    assert paper["robust_loss"] >= fast["robust_loss"]


def test_the_adaptive_attack_is_named_where_its_numbers_stand_and_is_not_weaker(tmp_path: Path) -> None:
    model = small_model()
    data = labelled(model)
    constant = measured(tmp_path / "pgd.h5", model, data)
    adaptive = measured(tmp_path / "apgd.h5", model, data, {**SETTINGS, "attack": "apgd"})
    assert (constant.attributes["attack"], adaptive.attributes["attack"]) == ("PGD-20", "APGD-20")
    assert adaptive.attributes["step"] == pytest.approx(0.06)
    assert scores(adaptive)["robust_loss"] >= scores(constant)["robust_loss"] - 1e-3
    assert all(str(row["note"]).startswith("APGD-20, Linf ε = 0.03") for row in analyze(adaptive) if "layer" not in row)


def test_bfloat16_is_measured_beside_float32(tmp_path: Path) -> None:
    model = small_model()
    found = scores(measured(tmp_path / "a.h5", model, labelled(model), SETTINGS | {"bf16": True}))
    assert found["robust_loss_float32"] == pytest.approx(found["robust_loss"], abs=0.1)
    assert found["robust_loss_float32"] != found["robust_loss"]


@pytest.mark.parametrize(("eps", "step"), [(8 / 255, 0.007), (2 / 255, 0.5 / 255), (0.5, 0.125)])
def test_the_step_is_the_papers_or_a_quarter_of_eps(eps: float, step: float) -> None:
    assert threat_of(ENTRY.model_copy(update={"eps": eps}), "robustness").step == pytest.approx(step)


@pytest.mark.parametrize(("name", "norm"), [("Linf", "Linf"), ("L2", "L2"), ("", "Linf")])
def test_the_catalogs_threat_model_names_the_ball(name: str, norm: Norm) -> None:
    assert threat_of(ENTRY.model_copy(update={"threat_model": name}), "robustness").ball == Ball(norm, 0.03)


def test_models_without_a_ball_are_skipped_with_a_reason(tmp_path: Path) -> None:
    model = small_model()
    data = labelled(model)
    with pytest.raises(LensSkipped, match="gives no eps for small"):
        measured(tmp_path / "a.h5", model, data, eps=None)
    with pytest.raises(LensSkipped, match="gives small the threat model 'corruptions'"):
        measured(tmp_path / "a.h5", model, data, threat_model="corruptions")
    with pytest.raises(LensSkipped, match="robustness lens needs a model that runs"):
        measured(tmp_path / "a.h5", LoadedModel("small", "small.pt", "", {}), data)
    with pytest.raises(InputError, match="needs labelled images for small"):
        measured(tmp_path / "a.h5", model, None)


@pytest.mark.slow
def test_autoattack_finds_no_less_than_pgd_and_leaves_no_trace(tmp_path: Path) -> None:
    pytest.importorskip("pyautoattack")
    model = small_model()
    data, before = labelled(model, 12), copy.deepcopy(running(model).state_dict())
    tracer, state = sys.gettrace(), torch.get_rng_state()
    found = scores(measured(tmp_path / "a.h5", model, data, SETTINGS | {"autoattack": True}))
    assert found["robust_accuracy_autoattack"] <= found["robust_accuracy"]
    assert sys.gettrace() is tracer
    assert torch.equal(torch.get_rng_state(), state)
    assert not logging.getLogger("auto-attack").handlers
    assert all(torch.equal(before[name], value) for name, value in running(model).state_dict().items())


def test_autoattack_refuses_models_that_know_too_few_classes() -> None:
    pytest.importorskip("pyautoattack")
    model = small_model(3)
    data = Images("random", np.zeros((2, 3, 6, 6), np.float32), np.zeros(2, np.int64))
    with pytest.raises(InputError, match="at least 4 classes, the model has 3"):
        run_autoattack(running(model), data, Ball("Linf", 0.1), seed=0, device="cpu", batch_size=2)


def cifar(folder: Path) -> Images:
    with np.load(folder / "cifar10_test_1000.npz") as file:
        pixels = file["images"].transpose(0, 3, 1, 2).astype(np.float32) / 255
        return Images("cifar10", np.ascontiguousarray(pixels), file["labels"].astype(np.int64))


# Figures of ../shared/realdata/README.md, on 256 images (1000 for ResNet-2B, here its first 256).
@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("model_id", "clean", "robust", "loss", "within"),
    [
        ("resnet20-robust", 0.687, 0.281, 1.86, 0.005),
        ("resnet20-normal", 0.812, 0.0, 78, 0.005),
        ("resnet2b-robust", 0.655, 0.529, 1.26, 0.06),
    ],
)
def test_trained_networks_have_the_accuracies_that_were_measured(
    realdata: Path, tmp_path: Path, model_id: str, clean: float, robust: float, loss: float, within: float
) -> None:
    from filterlens.loaders import load_model

    catalog = load_catalog(realdata / "catalog.csv")
    entry = catalog[model_id]
    settings = SETTINGS | {"images": 256, "batch_size": 64}  # the README's number, whatever the fast default is
    with DumpWriter(tmp_path / "a.h5", {}) as dump:
        options, run = chosen(RobustnessOptions, settings)
        extract(
            context(
                load_model(entry, catalog.folder), entry, cifar(realdata), options, dump.lens("robustness", {}),
                settings=run,
            )
        )  # fmt: skip
    with DumpReader(tmp_path / "a.h5") as reader:
        found = scores(reader.lens("robustness"))
    assert found["clean_accuracy"] == pytest.approx(clean, abs=within)
    assert found["robust_accuracy"] == pytest.approx(robust, abs=within)
    assert found["robust_loss"] == pytest.approx(loss, rel=0.03 if within < 0.01 else 0.1)


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_pgd_agrees_with_torchattacks_on_a_trained_network(realdata: Path) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    from filterlens.loaders import load_model

    catalog = load_catalog(realdata / "catalog.csv")
    model = running(load_model(catalog["resnet20-robust"], catalog.folder))
    data = cifar(realdata).first(200)
    images, labels = torch.from_numpy(data.pixels), torch.from_numpy(data.labels)
    ours = pgd(model, images, labels, eps=8 / 255, step=0.007, steps=20)
    torch.manual_seed(0)
    theirs = torchattacks.PGD(model, eps=8 / 255, alpha=0.007, steps=20)(images, labels)
    with torch.no_grad():
        right = (model(theirs).argmax(dim=1) == labels).float().mean().item()
    assert abs(right - (~ours.success).float().mean().item()) <= 0.01
