"""The corruption lens from model to scores: closed forms, a control, the command line."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from extracting import chosen, context
from torch import Tensor, nn
from typer.testing import CliRunner

from filterlens.catalogs import Entry
from filterlens.cli.app import app
from filterlens.dumps import DumpGroup, DumpReader, DumpWriter
from filterlens.errors import DumpError, InputError, LensSkipped
from filterlens.inputs import corruptions
from filterlens.inputs.corruptions import MADE
from filterlens.inputs.images import Images
from filterlens.lenses.corruption.analyzer import analyze
from filterlens.lenses.corruption.benchmark import ALEXNET_ERRORS, CORRUPTIONS, GROUPS, SEVERITIES
from filterlens.lenses.corruption.extractor import extract
from filterlens.lenses.corruption.options import CorruptionOptions
from filterlens.lenses.corruption.scores import (
    CorruptionAccuracy,
    corruption_accuracy,
    corruption_drop,
    mce_alexnet,
    mean_corruption_error,
)
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.score import as_table, model_scores

ENTRY = Entry(model_id="small", source="small.pt", dataset="cifar10", threat_model="corruptions")
CLASSES = 4


class Brightness(nn.Module):
    """Tells classes 0 … 3 by the mean grey level: 0 … 63, 64 … 127, and so on."""

    def forward(self, pixels: Tensor) -> Tensor:
        level = pixels.mean(dim=(1, 2, 3)) * 255
        centres = torch.tensor([32.0, 96.0, 160.0, 224.0], device=pixels.device)
        return -((level[:, None] - centres) ** 2)


def model(network: nn.Module) -> LoadedModel:
    classifier = Classifier(network, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).eval()
    return LoadedModel("small", "small.pt", "", network.state_dict(), classifier)


def flat_images(n: int = 12, side: int = 32) -> Images:
    """Flat grey images in the middle of their class."""
    labels = np.arange(n, dtype=np.int64) % CLASSES
    pixels = np.empty((n, 3, side, side), dtype=np.float32)
    pixels[:] = ((labels * 64 + 32) / 255).astype(np.float32)[:, None, None, None]
    return Images("flat", pixels, labels)


def measured(path: Path, loaded: LoadedModel, images: Images | None, row: Any = None, **settings: Any) -> DumpGroup:
    entry = ENTRY.model_copy(update=row or {})
    with DumpWriter(path, {"model_id": "small"}) as dump:
        options, run = chosen(CorruptionOptions, settings)
        extract(context(loaded, entry, images, options, dump.lens("corruption", {}), settings=run))
    return DumpReader(path).lens("corruption")


def scored(group: DumpGroup) -> pd.DataFrame:
    return as_table([{"model_id": "small", "lens": "corruption", **row} for row in analyze(group)])


def by_corruption(table: pd.DataFrame) -> dict[str, float]:
    rows = table[table["kind"] == "corruption"]
    return dict(zip(rows["layer"], rows["value"], strict=True))


def test_the_lens_and_the_images_speak_of_the_same_corruptions() -> None:
    """Analyzers may not import `filterlens.inputs`: the names are written down twice."""
    assert CORRUPTIONS == corruptions.CORRUPTIONS
    assert SEVERITIES == corruptions.SEVERITIES


def test_corruptions_are_of_four_kinds_and_alexnets_errors_are_those_of_the_paper() -> None:
    assert list(map(len, GROUPS.values())) == [3, 4, 4, 4]
    rounded = [88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7]  # table 1
    assert [ALEXNET_ERRORS[name] * 100 for name in CORRUPTIONS] == pytest.approx(rounded, abs=0.051)


def test_a_model_of_mean_brightness_is_right_under_noise_and_blur_and_wrong_where_brightness_rises(
    tmp_path: Path,
) -> None:
    found = by_corruption(scored(measured(tmp_path / "a.h5", model(Brightness()), flat_images())))
    assert tuple(found) == MADE
    for name in ("defocus_blur", "motion_blur", "zoom_blur", "contrast", "pixelate", "gaussian_noise"):
        assert found[name] == 1, name
    # severities 3 to 5 add 38, 51 and 76 grey levels to 32, 96, 160, 224, and classes are 64 wide; white stays white
    assert found["brightness"] == pytest.approx((1 + 1 + 0.25 + 0.25 + 0.25) / 5)


def test_scores_are_means_over_corruptions_and_severities(tmp_path: Path) -> None:
    table = scored(measured(tmp_path / "a.h5", model(Brightness()), flat_images()))
    means = model_scores(table).loc["small"]
    single = by_corruption(table)
    assert means["corruption_accuracy"] == pytest.approx(np.mean(list(single.values())))
    assert means["corruption_accuracy_weather"] == pytest.approx(
        np.mean([single[name] for name in ("snow", "fog", "brightness")])
    )
    assert means["corruption_accuracy_low_frequency"] == pytest.approx((single["fog"] + single["contrast"]) / 2)
    assert means["corruption_clean_accuracy"] == 1
    assert means["corruption_drop"] == pytest.approx(1 - means["corruption_accuracy"])
    assert means["mean_corruption_error"] == pytest.approx(1 - means["corruption_accuracy"])
    assert "mce_alexnet" not in means
    severities = table[table["kind"] == "severity"]
    assert severities["layer"].tolist() == [f"severity {s}" for s in range(1, 6)]
    assert severities["value"].mean() == pytest.approx(means["corruption_accuracy"])
    assert (table.loc[table["layer"] != "", "weight"] == 0).all()
    assert set(table["note"]) == {"12 images, corrupted here with CIFAR-10-C's parameters, without frost"}


def test_alexnet_itself_has_an_mce_of_one_and_a_perfect_model_of_zero() -> None:
    own = {name: np.full(5, 1 - error) for name, error in ALEXNET_ERRORS.items()}
    assert mce_alexnet(CorruptionAccuracy(0.5652, own, imagenet=True)) == pytest.approx(1)
    perfect = CorruptionAccuracy(1.0, {name: np.ones(5) for name in CORRUPTIONS}, imagenet=True)
    assert mce_alexnet(perfect) == 0
    assert corruption_accuracy(perfect) == 1
    assert corruption_drop(perfect) == 0
    assert mean_corruption_error(perfect) == 0


def test_mce_weighs_corruptions_by_alexnets_errors_and_not_by_their_own() -> None:
    right = {name: np.ones(5) for name in CORRUPTIONS} | {"fog": np.zeros(5)}
    assert mce_alexnet(CorruptionAccuracy(1.0, right, imagenet=True)) == pytest.approx(1 / 0.819324 / 15)


def test_mce_is_of_imagenet_only_and_the_plain_mean_error_of_others(tmp_path: Path) -> None:
    table = scored(measured(tmp_path / "a.h5", model(Brightness()), flat_images(), {"dataset": "imagenet"}))
    assert "mce_alexnet" in set(table["metric"])
    assert "mean_corruption_error" not in set(table["metric"])


def test_batches_and_earlier_models_change_nothing_and_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.get_buffer("1.running_mean").normal_(0, 0.3)
    loaded = model(network)
    before = copy.deepcopy(network.state_dict())
    images = flat_images(7)
    first, second = (
        measured(tmp_path / f"{size}.h5", loaded, images, batch_size=size, seed=1).read("predictions")
        for size in (2, 64)
    )
    assert np.array_equal(first, second)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert not network.training


def test_logits_that_are_not_finite_are_wrong_and_no_traceback(tmp_path: Path) -> None:
    class Fragile(Brightness):
        def forward(self, pixels: Tensor) -> Tensor:
            logits = super().forward(pixels)
            return torch.where(pixels.amax(dim=(1, 2, 3))[:, None] > 0.95, torch.nan, logits)

    group = measured(tmp_path / "a.h5", model(Fragile()), flat_images())
    predictions = group.read("predictions")
    assert (predictions == -1).any()
    assert all(0 <= float(str(row["value"])) <= 1 for row in analyze(group) if row["metric"] == "corruption_accuracy")


def test_published_images_are_read_where_their_folder_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    m = 6
    labels = np.arange(m) % CLASSES
    levels = np.tile(labels * 64 + 32, 5).astype(np.uint8)
    for name in CORRUPTIONS:
        array = np.broadcast_to(levels[:, None, None, None], (5 * m, 32, 32, 3)).copy()
        if name == "frost":
            array[4 * m :] = 255  # severity 5: all white, class 3
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    table = scored(measured(tmp_path / "a.h5", model(Brightness()), flat_images(), corrupted=str(folder)))
    found = by_corruption(table)
    assert tuple(found) == CORRUPTIONS
    assert found.pop("frost") == pytest.approx((4 + 1 / 6) / 5)
    assert set(found.values()) == {1.0}
    assert set(table["note"]) == {"6 images, CIFAR-10-C as published"}


def test_labels_that_the_model_does_not_know_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    for name in CORRUPTIONS:
        np.save(folder / f"{name}.npy", np.zeros((5, 32, 32, 3), np.uint8))
    np.save(folder / "labels.npy", np.full(5, 99, np.uint8))
    with pytest.raises(InputError, match="labels up to 99 but the model has 4 classes"):
        measured(tmp_path / "a.h5", model(Brightness()), flat_images(), corrupted=str(folder))


def test_bare_weights_are_skipped(tmp_path: Path) -> None:
    bare = LoadedModel("small", "small.pt", "", {"a.weight": torch.zeros(1)}, None)
    with pytest.raises(LensSkipped, match="corruption"):
        measured(tmp_path / "a.h5", bare, flat_images())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"predictions": np.zeros((14, 4, 12), np.int32)}, r"predictions of shape \(14, 4, 12\) do not belong"),
        ({"labels": np.zeros(3, np.int64)}, "does not belong to labels; extract again"),
        ({"names": "rain,fog"}, "are no corruptions; extract again"),
    ],
)
def test_a_dump_whose_arrays_do_not_belong_together_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    n = 12
    arrays = {
        "labels": np.zeros(n, np.int64), "predictions_clean": np.zeros(n, np.int32),
        "labels_corrupted": np.zeros(n, np.int64), "predictions": np.zeros((14, 5, n), np.int32),
    } | {name: array for name, array in change.items() if name != "names"}  # fmt: skip
    with DumpWriter(tmp_path / "a.h5", {"model_id": "small"}) as dump:
        group = dump.lens("corruption", {})
        for name, array in arrays.items():
            group.write(name, array)
        group.set_attributes(corruptions=change.get("names", ",".join(MADE)), source="x", imagenet=False, images=n)
    with pytest.raises(DumpError, match=said):
        analyze(DumpReader(tmp_path / "a.h5").lens("corruption"))


def test_a_user_audits_models_and_sees_each_corruption(tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = CliRunner().invoke(
        app,
        ["audit", "--leaderboard", "fonts-linf", "--models", "preact_resnet-*-s0", "--lens", "corruption", "--fast",
         "--images", "6", "--out", str(out)],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    table = pd.read_csv(out / "tables" / "corruption_by_type.csv")
    assert set(table["under"]) == {*MADE, *(f"severity {s}" for s in range(1, 6))}
    figure = pd.read_csv(out / "figures" / "corruption_by_type.csv")
    assert set(figure["side"]) == {"robust", "normal", "unpaired"}
    clean = figure[figure["under"] == "0"]["accuracy"]
    assert len(clean) == figure["model_id"].nunique() == 7
    assert (clean > 0.5).all()
    assert not math.isnan(float(figure["accuracy"].mean()))


def test_a_folder_of_another_data_set_fails_with_what_to_do(tmp_path: Path) -> None:
    said = CliRunner().invoke(
        app,
        ["audit", "--leaderboard", "fonts-linf", "--models", "preact_resnet-pgd-s0", "--lens", "corruption",
         "--images", "4", "--corrupted", str(tmp_path), "--out", str(tmp_path / "run")],
    )  # fmt: skip
    assert said.exit_code != 0
    assert "is neither CIFAR-10-C nor ImageNet-C" in " ".join(said.output.split())
