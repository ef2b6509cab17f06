"""`inspect` places a network only among its kind, and gives a verdict only where it holds for networks left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from small_zoo import weights
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.commands.reference import Reference, left_out_verdicts, place, reference_scores
from filterlens.lens import RunSettings
from filterlens.loaders.architectures import build
from filterlens.score import as_table

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "inspect_calibration.csv"
FONTS = RunSettings(data="fonts")


def zoo(shift: dict[str, float], *, seeds: int = 2, noise: float = 0.1) -> Reference:
    """A reference in which robust networks of each architecture are higher in z by its `shift`."""
    rng = np.random.default_rng(0)
    rows = {
        f"{architecture}-{robust}-{seed}": (robust, architecture, robust * by + rng.normal(0, noise))
        for architecture, by in shift.items()
        for robust in (True, False)
        for seed in range(seeds)
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["robust", "architecture", "orthogonality_z"])
    facts = table[["robust", "architecture"]].assign(dataset="fonts", conv_layers=3, filters=10, input_channels=1)
    means = table[["orthogonality_z"]].assign(orthogonality=table["orthogonality_z"] / 10)
    return Reference("a zoo", facts, means, bundled=False)


def looks(z: float, reference: Reference) -> tuple[str, int, int]:
    rows = [{"model_id": "m", "lens": "filters", "metric": name, "layer": "l", "value": value}
            for name, value in (("orthogonality", 0.5), ("orthogonality_z", z))]  # fmt: skip
    (found,) = place(as_table(rows), reference)
    return found.looks, found.right, found.tested


def test_the_verdict_is_right_on_networks_left_out_and_says_how_often() -> None:
    reference = zoo({"a": 1, "b": 1.2, "c": 0.9, "d": 1.1})
    assert looks(1.0, reference) == ("robust", 16, 16)
    assert looks(0.0, reference) == ("normal", 16, 16)


@pytest.mark.parametrize(
    "shift",
    [{"a": 0, "b": 0, "c": 0, "d": 0}, {"a": 1, "b": 1, "c": 1, "d": -1}, {"a": 1, "b": 1}],
    ids=["no difference", "one architecture the other way", "two architectures"],
)
def test_there_is_no_verdict_where_it_does_not_hold_for_every_architecture(shift: dict[str, float]) -> None:
    reference = zoo(shift)
    assert {looks(z, reference)[0] for z in (-1.0, 0.0, 0.5, 1.0)} == {""}


def test_a_network_beyond_the_reference_gets_no_verdict() -> None:
    reference = zoo({"a": 1, "b": 1.2, "c": 0.9, "d": 1.1})
    assert looks(30.0, reference)[0] == looks(-30.0, reference)[0] == ""


def test_the_bundled_verdicts_are_right_as_often_as_they_claim() -> None:
    """The committed table, made by tools/calibrate_inspect.py, is what the code gives, and what `inspect` claims."""
    table = pd.read_csv(EVIDENCE, keep_default_na=False)
    reference = reference_scores()
    for (dataset, name), rows in table.groupby(["dataset", "metric"]):
        found = left_out_verdicts(str(name), reference.of(reference.facts["dataset"].eq(str(dataset))))
        assert rows.set_index("model_id")["verdict"].to_dict() == found.to_dict()
    rows = table[(table["metric"] == "orthogonality_z") & (table["dataset"] == "fonts")]
    sides = rows["robust"].map({"True": "robust", "False": "normal", True: "robust", False: "normal"})
    right = int((rows["verdict"] == sides).sum())
    assert (right, len(rows)) == (17, 17)
    inspected = filterlens.inspect("fonts-linf/preact_resnet-transformations-s0")  # no part of the reference
    judged = {place.metric: (place.looks, place.right, place.tested) for place in inspected.places if place.looks}
    assert judged == {"orthogonality": ("normal", right, len(rows))}


def test_a_network_is_not_its_own_reference() -> None:
    inspected = filterlens.inspect("fonts-linf/vgg_maxpool-normal-s0")
    assert inspected.comparison == (
        "Compared with the bundled zoos (fonts-linf): 9 robust and 7 normal networks (preact_resnet, resnet_strided, "
        "vgg_maxpool, wide_resnet_avgpool)."
    )
    assert [place.looks for place in inspected.places if place.metric == "orthogonality"] == ["normal"]


@pytest.mark.parametrize("architecture", ["preact_resnet", "vgg_maxpool"])
def test_an_untrained_network_is_neither(tmp_path: Path, architecture: str) -> None:
    torch.manual_seed(1)
    save_file(build(architecture).state_dict(), tmp_path / "m.safetensors")
    found = filterlens.inspect(tmp_path / "m.safetensors", settings=FONTS)
    assert {place.metric for place in found.places} >= {"orthogonality", "variance_entropy"}
    assert {place.looks for place in found.places} == {""}


def cifar(path: Path, *, channels: int = 3, width: int = 64, layers: int = 4) -> Path:
    state = {f"conv{i}.weight": torch.randn(width, width if i else channels, 3, 3) for i in range(layers)}
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("made", "data", "said"),
    [({}, "", "nobody says on what data this network was trained"),
     ({}, "cifar100", "the networks there are of cifar10 and fonts, this one of cifar100"),
     ({"layers": 24}, "cifar10", "filters, this one"), ({"layers": 24}, "cifar10-bundled-512", "filters, this one"),
     ({}, "fonts", "the networks there take 1 channels, this one 3"),
     ({"channels": 1}, "fonts", "filters, this one 12,352"),
     ({"channels": 1, "width": 16, "layers": 24}, "fonts", "convolutions, this one 24")],
)  # fmt: skip
def test_nothing_is_said_of_networks_of_another_kind(
    tmp_path: Path, made: dict[str, int], data: str, said: str
) -> None:
    found = filterlens.inspect(cifar(tmp_path / "m.pt", **made), settings=RunSettings(data=data))
    assert found.places == ()
    assert found.comparison.startswith("Not compared with the bundled zoos: ")
    assert said in found.comparison


def test_a_reference_of_ones_own_is_taken_for_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for name, seed in (("r", 1), ("n", 2), ("r2", 3)):
        torch.save(weights(seed), tmp_path / f"{name}.pt")
    rows = ["r,r.pt,cifar10,true,n", "n,n.pt,cifar10,false,", "r2,r2.pt,cifar100,true,"]
    (tmp_path / "zoo.csv").write_text("model_id,source,dataset,robust,match\n" + "\n".join(rows) + "\n")
    filterlens.extract(tmp_path / "zoo.csv", folder)
    filterlens.analyze(folder)
    torch.save(weights(9), tmp_path / "new.pt")
    found = filterlens.inspect(tmp_path / "new.pt", reference=folder)
    assert found.comparison.endswith("2 robust and 1 normal networks.")
    assert {place.looks for place in found.places} == {""}, "three networks are no calibration"
    found = filterlens.inspect(tmp_path / "new.pt", reference=folder, settings=RunSettings(data="CIFAR-10"))
    assert found.comparison.endswith("1 robust and 1 normal networks."), "of its data set only"


def test_the_command_says_what_it_compared_with(tmp_path: Path) -> None:
    path = str(cifar(tmp_path / "m.pt"))
    printed = CliRunner().invoke(app, ["inspect", path]).stdout
    assert "Not compared with the bundled zoos: nobody says" in printed
    assert "nearer" not in printed
    found = json.loads(CliRunner().invoke(app, ["inspect", path, "--json"]).stdout)
    assert found["comparison"].startswith("Not compared")
    printed = CliRunner().invoke(app, ["inspect", "fonts-linf/vgg_maxpool-pgd-s0"]).stdout
    assert "right for 16 of 16 networks whose architecture was left out" in " ".join(printed.split())
