"""Accuracy under transformations: networks whose worst rotation, translation and affine map are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from extracting import chosen, context
from torch import Tensor, nn

from filterlens.attacks.transformations import grid_of, translation_of
from filterlens.catalogs import Entry
from filterlens.dumps import DumpGroup, DumpReader, DumpWriter
from filterlens.inputs.fonts import warp
from filterlens.inputs.images import Images
from filterlens.lenses.robustness.analyzer import analyze
from filterlens.lenses.robustness.extractor import extract
from filterlens.lenses.robustness.options import RobustnessOptions
from filterlens.loaders.model import Classifier, LoadedModel

SIDE = 28


class Side(nn.Module):
    """Tells in which half the mass lies: logits of left and right."""

    def forward(self, pixels: Tensor) -> Tensor:
        place = torch.linspace(-1, 1, pixels.shape[-1])
        right = (pixels * place).sum(dim=(1, 2, 3))
        return torch.stack([-right, right], dim=1)


class Mass(nn.Module):
    """Tells whether there is much or little, wherever it lies: class 1 is much."""

    def forward(self, pixels: Tensor) -> Tensor:
        much = pixels.sum(dim=(1, 2, 3)) - 10
        return torch.stack([-much, much], dim=1)


def blobs(distances: list[float]) -> Images:
    """Round spots right of the middle by so many pixels, in the middle row."""
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    pixels = np.stack([np.exp(-((x - d) ** 2 + y**2) / 4) for d in distances])[:, None].astype(np.float32)
    return Images("blobs", pixels, np.ones(len(distances), dtype=np.int64))


def measured(folder: Path, network: nn.Module, data: Images, **given: object) -> DumpGroup:
    model = LoadedModel("small", "small.pt", "", {}, Classifier(network, (0.0,), (1.0,)).eval())
    settings = {"fast": True, "batch_size": 3, "transformations": True} | given
    options, run = chosen(RobustnessOptions, settings)
    entry = Entry(model_id="small", source="small.pt", threat_model="Linf", eps=0.001)
    with DumpWriter(folder / "a.h5", {"model_id": "small"}) as dump:
        extract(context(model, entry, data, options, dump.lens("robustness", {}), settings=run))
    return DumpReader(folder / "a.h5").lens("robustness")


def score(group: DumpGroup, metric: str) -> float:
    return next(float(str(row["value"])) for row in analyze(group) if row["metric"] == metric and "layer" not in row)


def test_a_rotation_with_translation_reaches_as_far_as_it_says(tmp_path: Path) -> None:
    """A spot d pixels right of the middle comes to d cos 30° − 3 at worst."""
    distances = [1.0, 2.5, 3.2, 4.0, 6.0, 8.0]
    group = measured(tmp_path, Side(), blobs(distances))
    told = group.read("logits_rotation").argmax(axis=1) == 1
    assert told.tolist() == [d * math.cos(math.pi / 6) > 3 for d in distances]
    assert score(group, "clean_accuracy") == 1
    assert score(group, "robust_accuracy") == 1
    assert score(group, "robust_accuracy_rotation") == 0.5
    assert score(group, "robust_accuracy_rotation_low") < 0.5 < score(group, "robust_accuracy_rotation_high")


def test_an_affine_map_reaches_as_far_as_it_says(tmp_path: Path) -> None:
    """All at once: shear leaves the middle row, scale 0.75, rotation cos 0.3, and a shift of 0.2 of half the side."""
    shift = 0.2 * SIDE / 2
    reach = shift / (0.75 * math.cos(0.3))
    distances = [reach - 1.5, reach - 0.7, reach + 0.7, reach + 1.5]
    group = measured(tmp_path, Side(), blobs(distances), restarts=3)
    assert (group.read("logits_affine").argmax(axis=1) == 1).tolist() == [False, False, True, True]
    assert score(group, "robust_accuracy_affine") == 0.5


def test_a_network_that_does_not_look_where_is_robust_and_a_wrong_one_stays_wrong(tmp_path: Path) -> None:
    data = blobs([0.0, 1.0, 2.0, 3.0])
    data.labels[3] = 0
    group = measured(tmp_path, Mass(), data)
    assert score(group, "clean_accuracy") == 0.75
    assert score(group, "robust_accuracy_rotation") == 0.75
    assert (group.read("logits_rotation").argmax(axis=1) == 1).all()


def test_the_worst_is_a_misclassification_though_another_has_a_higher_loss(tmp_path: Path) -> None:
    """Three classes: in the middle the label is second of three, elsewhere first, though less surely."""

    class Odd(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            place = torch.linspace(-1, 1, pixels.shape[-1])
            off = (pixels * place).sum(dim=(1, 2, 3)).abs() > 0.5
            wrong = torch.tensor([0.0, 0.1, -9.0])  # loss 0.74
            unsure = torch.tensor([1e-3, 0.0, 0.0])  # loss 1.10, and right
            return torch.where(off[:, None], unsure, wrong) + 0 * pixels.sum(dim=(1, 2, 3))[:, None]

    data = Images("blob", blobs([0.0]).pixels, np.zeros(1, dtype=np.int64))
    group = measured(tmp_path, Odd(), data)
    assert group.read("logits_rotation")[0].tolist() == pytest.approx([0, 0.1, -9])


def test_the_grid_holds_none_and_its_ends() -> None:
    grid = grid_of(32, 32, rotations=31, translations=5)
    assert grid.shape == (775, 6)
    none = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    middle = grid[(grid - none).abs().sum(dim=1).argmin()]
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(warp(image, middle[None]), image, atol=1e-5)
    assert grid[:, 5].max().item() == pytest.approx(math.pi / 6)
    assert grid[:, 0].max().item() == pytest.approx(3 / 16)
    moved = warp(image, torch.tensor([[3 / 16, 0.0, 0.0, 0.0, 1.0, 0.0]]))
    assert torch.allclose(moved[..., 3:], image[..., :-3], atol=1e-5)
    assert translation_of(28) == 3
    assert translation_of(448) == pytest.approx(48)


def test_batches_of_any_size_give_the_same_and_without_the_option_there_is_nothing(tmp_path: Path) -> None:
    data = blobs([1.0, 2.0, 3.0, 4.0, 5.0])
    groups = []
    for size in (5, 2):
        (tmp_path / str(size)).mkdir()
        groups.append(measured(tmp_path / str(size), Side(), data, batch_size=size))
    for name in ("logits_affine", "logits_rotation"):
        assert np.allclose(groups[0].read(name), groups[1].read(name), atol=1e-4)
    assert "rotation ±30° and translation ±3 pixels on 7 x 3² places" in str(analyze(groups[0])[0]["note"])
    (tmp_path / "plain").mkdir()
    plain = measured(tmp_path / "plain", Side(), data, transformations=False)
    assert "logits_rotation" not in plain
    assert not any("rotation" in str(row) for row in analyze(plain))


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    model = LoadedModel("small", "small.pt", "", {}, Classifier(Side(), (0.0,), (1.0,)).eval())
    options, run = chosen(RobustnessOptions, {"fast": True, "transformations": True, "restarts": 2})
    reports: list[tuple[int, int]] = []
    entry = Entry(model_id="small", source="small.pt", threat_model="Linf", eps=0.001)
    with DumpWriter(tmp_path / "a.h5", {}) as dump:
        extract(
            context(
                model, entry, blobs([1.0, 5.0]), options, dump.lens("robustness", {}), settings=run,
                progress=lambda done, total: reports.append((done, total)),
            )
        )  # fmt: skip
    assert reports[-1][0] == reports[-1][1] == 1 + 1 + 4 * 21 + 63
