"""A checkpoint on its own is run with its normalisation, and whatever is run without one says so everywhere."""

from __future__ import annotations

import csv
import io
import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.errors import CatalogError, InputError
from filterlens.score import UNNORMALISED, read_scores
from filterlens.tracing.normalisation import takes_images_as_they_are

MEAN, STD = (0.49, 0.48, 0.45), (0.2, 0.25, 0.3)
HOW: dict[str, Any] = {"lenses": ["downsampling"], "images": 4}


def network(*, inside: bool = False) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(
        *([Normalise()] if inside else []), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )


class Normalise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std  # type: ignore[operator]


def export(model: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (torch.rand(1, 3, 16, 16),), str(path), input_names=["x"], dynamic_axes={"x": {0: "n"}},
            dynamo=False,
        )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare network and the same one with its normalisation, as ONNX files, in a catalog, and images."""
    folder = tmp_path_factory.mktemp("files")
    export(network(), folder / "bare.onnx")
    export(network(inside=True), folder / "inside.onnx")
    torch.save(network().state_dict(), folder / "bare.pt")
    (folder / "one_net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1),\n"
        "                         nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))\n"
    )
    rows = [
        ("model_id", "source", "mean", "std", "robust", "match"),
        ("given", "bare.onnx", "0.49 0.48 0.45", "0.2 0.25 0.3", "true", "raw"),
        ("raw", "bare.onnx", "", "", "false", ""),
        ("inside", "inside.onnx", "", "", "", ""),
        ("as-they-are", "bare.onnx", "0", "1", "", ""),
    ]
    with (folder / "nets.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(8) % 10)
    return folder


def settings(files: Path) -> filterlens.RunSettings:
    return filterlens.RunSettings(data=str(files / "images.npz"))


def aliasing(table: pd.DataFrame) -> float:
    rows = table[(table["metric"] == "aliasing_relative") & (table["layer"] != "")]
    return float(rows["value"].iloc[0])


def test_a_file_with_its_mean_and_std_scores_as_the_network_that_normalises_itself(files: Path) -> None:
    how: dict[str, Any] = HOW | {"settings": settings(files)}
    inside = filterlens.inspect(files / "inside.onnx", **how)
    given = filterlens.inspect(files / "bare.onnx", mean="0.49 0.48 0.45", std=STD, **how)
    raw = filterlens.inspect(files / "bare.onnx", **how)
    assert aliasing(given.layers) == pytest.approx(aliasing(inside.layers), rel=1e-4)
    assert abs(aliasing(raw.layers) - aliasing(inside.layers)) > 1e-3
    assert not inside.cautions
    assert not given.cautions
    (caution,) = raw.cautions
    assert caution.startswith(f"bare.onnx: {UNNORMALISED}, and the network does none itself: give its mean and std")


def test_a_model_of_a_files_catalog_carries_its_own_normalisation(files: Path) -> None:
    how: dict[str, Any] = HOW | {"settings": settings(files)}
    by_id = filterlens.inspect(f"{files}/nets.csv/given", **how)
    by_hand = filterlens.inspect(files / "bare.onnx", mean=MEAN, std=STD, **how)
    assert aliasing(by_id.layers) == aliasing(by_hand.layers)
    with pytest.raises(CatalogError, match="catalog nets has no model 'gven'"):
        filterlens.inspect(f"{files}/nets.csv/gven", **how)
    with pytest.raises(InputError, match=r"go with a checkpoint; .*nets\.csv/given carries its own"):
        filterlens.inspect(f"{files}/nets.csv/given", mean=MEAN, std=STD, **how)


def test_each_side_of_a_comparison_has_its_own_normalisation(files: Path) -> None:
    how: dict[str, Any] = HOW | {"settings": settings(files)}
    table = filterlens.compare(f"{files}/nets.csv/given", files / "inside.onnx", **how)
    assert table["difference"].abs().max() < 1e-3
    assert not table["note"].any()
    mixed = filterlens.compare(f"{files}/nets.csv/raw", files / "bare.onnx", mean=MEAN, std=STD, **how)
    assert set(mixed["note"]) == {f"first {UNNORMALISED}"}
    assert float(mixed[mixed["metric"] == "aliasing_relative"]["difference"].abs().max()) > 1e-3
    both = filterlens.compare(files / "bare.onnx", files / "bare.onnx", mean=MEAN, std=STD, **how)
    assert not both["note"].any()
    with pytest.raises(InputError, match="go with a checkpoint"):
        filterlens.compare(f"{files}/nets.csv/raw", f"{files}/nets.csv/given", mean=MEAN, std=STD, **how)


def test_weights_alone_are_scored_in_the_architecture_that_is_named(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    how: dict[str, Any] = HOW | {"settings": settings(files), "mean": MEAN, "std": STD}
    filled = filterlens.inspect("bare.pt", arch="module:one_net:make", **how)
    whole = filterlens.inspect("bare.onnx", **how)
    assert aliasing(filled.layers) == pytest.approx(aliasing(whole.layers), rel=1e-4)
    with pytest.raises(InputError, match="--arch goes with a file of weights; timm:resnet18 names its own network"):
        filterlens.inspect("timm:resnet18", arch="module:one_net:make", **how)
    with pytest.raises(CatalogError, match="--mean and --std go together"):
        filterlens.inspect("bare.onnx", mean=MEAN, **HOW)
    with pytest.raises(CatalogError, match=r"--mean: images lie in \[0, 1\]"):
        filterlens.inspect("bare.onnx", mean="125.3 123 113.9", std="63 62 66", **HOW)
    with pytest.raises(CatalogError, match="--arch 'resnet18': write bundled:…"):
        filterlens.inspect("bare.pt", arch="resnet18", **HOW)


@pytest.mark.parametrize("command", ["inspect", "compare", "check"])
@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown"])
def test_every_command_warns_in_every_format(files: Path, command: str, form: str, tmp_path: Path) -> None:
    every: dict[str, list[object]] = {
        "inspect": ["inspect"],
        "compare": ["compare", files / "bare.onnx"],
        "check": ["check", "-b", "max-aliasing_relative=1", "--junit", tmp_path / "j.xml"],
    }
    words = every[command]
    common = ["--lens", "downsampling", "--data", files / "images.npz", "-n", "4", "-f", form]
    raw = CliRunner().invoke(app, [str(w) for w in [*words, files / "bare.onnx", *common]])
    told = CliRunner().invoke(
        app,
        [str(w) for w in [*words, files / "bare.onnx", *common, "--mean", "0.49 0.48 0.45", "--std", "0.2 0.25 0.3"]],
    )
    assert raw.exit_code == told.exit_code == 0, (raw.output, told.output)
    assert f"warning: {files / 'bare.onnx'}: {UNNORMALISED}" in raw.stderr or "warning: bare.onnx:" in raw.stderr
    assert not told.stderr
    assert UNNORMALISED not in told.output
    if form != "table":
        assert UNNORMALISED in raw.stdout
    if form == "json":
        found = json.loads(raw.stdout)
        rows = found["layers"] if command == "inspect" else found
        assert all(UNNORMALISED in row["note"] for row in rows if row.get("name") != "weights")
        assert command != "inspect" or UNNORMALISED in found["cautions"][0]
    if form == "csv":
        rows = csv.DictReader(io.StringIO(raw.stdout))
        assert all(UNNORMALISED in row["note"] for row in rows if row.get("name") != "weights")
    if command == "check":
        case, _ = ET.parse(tmp_path / "j.xml").getroot()
        assert case.find("system-out") is None  # the last run was told


def test_an_audit_warns_on_the_terminal_the_page_and_in_files(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("filterlens.commands.report"), "all_figures", list)
    words = [
        "audit",
        "-l",
        files / "nets.csv",
        "--lens",
        "filters,downsampling",
        "-n",
        "4",
        "--data",
        files / "images.npz",
    ]
    both = [*words, "-m", "raw", "-m", "inside", "-o", tmp_path / "run"]
    done = CliRunner().invoke(app, [str(w) for w in both])
    assert done.exit_code == 0, done.output
    said = f"raw: {UNNORMALISED}, and the network does none itself"
    assert f"caution {said}" in done.output
    assert said in (tmp_path / "run" / "index.html").read_text(encoding="utf-8")
    assert said in (tmp_path / "run" / "tables" / "cautions.csv").read_text(encoding="utf-8")
    scores = read_scores(tmp_path / "run" / "scores.parquet")
    noted = scores[scores["note"].str.contains(UNNORMALISED)]
    assert set(zip(noted["model_id"], noted["lens"], strict=True)) == {("raw", "downsampling")}
    again = CliRunner().invoke(app, [str(w) for w in both])
    assert f"caution {said}" in again.output
    alone = [*words, "-m", "inside", "-m", "as-they-are", "-o", tmp_path / "quiet"]
    quiet = CliRunner().invoke(app, [str(w) for w in alone])
    assert "caution" not in quiet.output
    assert not (tmp_path / "quiet" / "tables" / "cautions.csv").exists()
    assert "Before acting" not in (tmp_path / "quiet" / "index.html").read_text(encoding="utf-8")


def test_the_bundled_networks_need_no_normalisation() -> None:
    found = filterlens.inspect("fonts-linf/vgg_maxpool-normal-s0", **HOW)
    assert not found.cautions


class Scaled(nn.Module):
    """Brings images to [-1, 1] in its own code."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(2 * images - 1)
        return logits


class Flat(nn.Module):
    """Turns, pads and flattens images, and changes no pixel."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.pad(images.flip(1).transpose(2, 3), (1, 1, 1, 1)).flatten(1)


def with_statistics(norm: nn.Module, inner: nn.Module) -> nn.Module:
    norm.get_buffer("running_mean").fill_(0.4)
    return nn.Sequential(norm, inner)


@pytest.mark.parametrize(
    ("model", "raw"),
    [
        (nn.Conv2d(3, 4, 3), True),
        (nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(3, 4, 3)), True),
        (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3)), True),
        (nn.Sequential(Flat(), nn.Linear(3 * 18 * 18, 4)), True),
        (nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 4)), True),
        (Scaled(nn.Conv2d(3, 4, 3)), False),
        (Scaled(nn.Sequential(Flat(), nn.Linear(3 * 18 * 18, 4))), False),
        (with_statistics(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), False),
        (nn.Sequential(nn.InstanceNorm2d(3), nn.Conv2d(3, 4, 3)), False),
        (nn.Sequential(Normalise(), nn.Conv2d(3, 4, 3)), False),
        (nn.Sequential(nn.ReLU(), nn.Flatten()), None),
        (nn.Sequential(nn.Flatten(), nn.Flatten(7)), None),
    ],
)
def test_it_is_told_whether_a_network_normalises_its_input(model: nn.Module, raw: bool | None) -> None:
    state = torch.random.get_rng_state()
    assert takes_images_as_they_are(model.eval(), (3, 16, 16)) is raw
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.slow
@pytest.mark.realdata
def test_the_two_resnets_compare_as_they_do_with_their_normalisation(realdata: Path) -> None:
    settings = filterlens.RunSettings(data=str(realdata / "cifar10_test_1000.npz"))
    how: dict[str, Any] = {"lenses": ["downsampling"], "settings": settings, "images": 64}
    sides = [f"{realdata}/catalog.csv/{name}" for name in ("resnet20-normal", "resnet20-robust")]
    table = filterlens.compare(*sides, **how)
    model = table[table["layer"] == ""].set_index("metric").loc["aliasing_relative"]
    assert (model["first"], model["second"]) == pytest.approx((0.3828, 0.3072), abs=2e-4)  # ../shared/reference
    assert not table["note"].any()
    files = [realdata / f"{name}.onnx" for name in ("resnet20-normal", "resnet20-robust")]
    raw = filterlens.compare(*files, **how)
    told = filterlens.compare(*files, mean="0.485 0.456 0.406", std="0.229 0.224 0.225", **how)
    assert (raw["note"] == f"first {UNNORMALISED}; second {UNNORMALISED}").all()
    wrong = raw[raw["layer"] == ""].set_index("metric").loc["aliasing_relative"]
    assert wrong["first"] < wrong["second"]
    right = told[told["layer"] == ""].set_index("metric").loc["aliasing_relative"]
    assert right["first"] == pytest.approx(model["first"])
