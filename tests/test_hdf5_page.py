"""docs/hdf5.md names every array of a real audit, and its Python example reads one."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

import filterlens
from filterlens.catalogs import Catalog
from filterlens.loaders import load_model

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "hdf5.md").read_text(encoding="utf-8")
NAME = "preact_resnet-pgd-s0"
LENSES = (
    "filters",
    "frequency",
    "spectra",
    "downsampling",
    "robustness",
    "perturbation",
    "corruption",
    "flatness",
    "manifold",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hdf5") / "run"
    zoo = filterlens.load_catalog("fonts-linf")
    one = Catalog(zoo.name, (zoo[NAME].model_copy(update={"match": ""}),), zoo.folder)
    filterlens.extract(one, folder, lenses=LENSES, fast=True, images=8)
    filterlens.analyze(folder)
    return folder


def section(lens: str) -> str:
    """The page's text between the heading of one group and the next heading."""
    return PAGE.split(f"### `/{lens}`\n")[1].split("\n#")[0]


def test_every_group_of_a_dump_has_its_section(run: Path) -> None:
    with h5py.File(run / "dumps" / f"{NAME}.h5") as file:
        assert set(file) == set(LENSES)
        for lens in file:
            assert section(lens)
        head = PAGE.split("/filters")[0]
        assert [name for name in file.attrs if name not in head + PAGE.split("/filters")[1]] == []


@pytest.mark.parametrize("lens", ["robustness", "perturbation", "corruption", "flatness", "manifold"])
def test_every_array_is_named(run: Path, lens: str) -> None:
    with h5py.File(run / "dumps" / f"{NAME}.h5") as file:
        assert [name for name in file[lens] if f"`{name}`" not in section(lens)] == []


@pytest.mark.parametrize("lens", ["filters", "frequency", "spectra", "downsampling"])
def test_every_attribute_of_a_layer_is_named(run: Path, lens: str) -> None:
    with h5py.File(run / "dumps" / f"{NAME}.h5") as file:
        attributes = {name for layer in file[lens].values() for name in layer.attrs} - {"order"}
        assert attributes
        assert [name for name in attributes if f"`{name}`" not in section(lens)] == []


def test_every_pooled_array_is_named(run: Path) -> None:
    with h5py.File(run / "pooled.h5") as file:
        text = PAGE.split("### `pooled.h5`")[1].split("\n## ")[0]
        assert [name for name in file["filters"] if f"`{name}`" not in text] == []


def test_the_python_example_reads_every_layer(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    space: dict[str, object] = {}
    exec(example.replace("dumps/Wong2020Fast.h5", str(run / "dumps" / f"{NAME}.h5")), space)
    lines = capsys.readouterr().out.splitlines()
    weights = load_model(filterlens.load_catalog("fonts-linf")[NAME], Path()).weights
    kernels = [tuple(value.shape) for value in weights.values() if value.ndim == 4 and value.shape[-1] == 3]
    assert len(lines) == len(kernels)
    assert np.isclose(float(lines[-1].split()[-1]), 1)
