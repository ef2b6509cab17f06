"""Licences of weights are those that their sources state."""

from __future__ import annotations

import json
import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from typer.testing import CliRunner

from filterlens.catalogs import Entry, catalog_names, load_catalog
from filterlens.cli.app import app
from filterlens.errors import CheckpointError
from filterlens.loaders.licences import NOT_MIT, licence_of


def of(source: str) -> str:
    return licence_of(Entry(model_id="x", source=source))


@pytest.mark.parametrize(
    ("source", "licence"),
    [
        ("robustbench:cifar10/Linf/Wong2020Fast", "MIT"),
        ("robustbench:cifar10/Linf/Ding2020MMA", "CC-BY-NC-SA-4.0"),
        ("robustbench:cifar10/L2/Rony2019Decoupling", "BSD-3-Clause"),
        ("robustbench:cifar10/corruptions/Rebuffi2021Fixing_70_16_cutmix_extra_L2", "Apache-2.0"),
        ("robustbench:cifar100/Linf/Gowal2020Uncovering_extra", "Apache-2.0"),
        ("robustbench:cifar100/Linf/Hendrycks2019Using", "MIT"),  # only the CIFAR-10 one is listed
        ("bundled:fonts/preact_resnet-pgd-s0", "MIT"),
        ("zenodo:7097538/cifar10/Wong2020Fast", "see Zenodo record 7097538"),
        ("timm:resnet18.tv_in1k", "BSD-3-Clause"),
        ("timm:resnet50.fb_swsl_ig1b_ft_in1k", "CC-BY-NC-4.0"),
        ("timm:regnety_320.seer_ft_in1k", "see timm's card of regnety_320.seer_ft_in1k"),
        ("timm:resnet50.a1_in1k", "see timm's card of resnet50.a1_in1k"),
        ("hf:org/name@main", "see the card of org/name@main"),
        ("weights.pt", "yours to know"),
    ],
)
def test_a_source_has_its_licence_or_says_where_it_is_written(source: str, licence: str) -> None:
    assert of(source) == licence


def test_a_licence_that_the_catalog_tells_comes_first() -> None:
    assert licence_of(Entry(model_id="x", source="weights.pt", licence="CC0-1.0")) == "CC0-1.0"


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no loader answers 'ftpzoo:'"):
        of("ftpzoo:x")


def test_the_exceptions_are_those_that_robustbench_lists() -> None:
    text = next(file for file in distribution("robustbench").files or [] if file.name == "LICENSE").read_text()
    spdx = {
        "Apache License 2.0": "Apache-2.0",
        "Attribution-NonCommercial-ShareAlike 4.0 International": "CC-BY-NC-SA-4.0",
        "BSD 3-Clause License": "BSD-3-Clause",
    }
    listed = re.findall(r"^- (.+?), (.+?), (\w+\*?): (.+?);", text, re.MULTILINE)
    assert len(listed) == len(NOT_MIT)
    for datasets, threats, name, licence in listed:
        for dataset in datasets.split("/"):
            for threat in threats.split("/"):
                source = f"robustbench:{dataset.lower().replace('-', '')}/{threat}/{name.replace('*', '_28_10')}"
                assert of(source) == spdx[licence], source


def test_the_command_counts_every_model_of_every_catalog() -> None:
    done = CliRunner().invoke(app, ["catalogs", "--licences", "--format", "json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    for name in catalog_names():
        assert sum(int(row["models"]) for row in rows if row["catalog"] == name) == len(load_catalog(name))


def test_the_command_shows_one_catalogs_models(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("model_id,source\nours,ours.pt\nmma,robustbench:cifar10/Linf/Ding2020MMA\n")
    done = CliRunner().invoke(app, ["catalogs", str(path), "--licences", "--format", "csv"])
    assert done.stdout.splitlines() == [
        "model_id,licence,source",
        "ours,yours to know,ours.pt",
        "mma,CC-BY-NC-SA-4.0,robustbench:cifar10/Linf/Ding2020MMA",
    ]
