"""The images that come with the package: what they are, and when they stand in for CIFAR-10."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

import filterlens
from filterlens.catalogs import load_catalog
from filterlens.dumps import DumpReader
from filterlens.errors import DownloadError
from filterlens.inputs import data_digest, load_images
from filterlens.inputs.bundled import BUNDLED_CIFAR10, bundled_cifar10, bundled_file
from filterlens.inputs.cifar import DATASETS
from filterlens.loaders.architectures import build

REALDATA = Path(__file__).parents[3] / "shared" / "realdata" / "cifar10_jpeg.zip"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No CIFAR-10 anywhere, and nobody to ask for it."""
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["cifar10"], url="http://127.0.0.1:9/x.tar.gz"))
    monkeypatch.setitem(DATASETS, "cifar100", replace(DATASETS["cifar100"], url="http://127.0.0.1:9/y.tar.gz"))
    monkeypatch.setenv("FILTERLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_512_images_of_every_class_take_half_a_megabyte() -> None:
    images = bundled_cifar10()
    assert images.pixels.shape == (512, 3, 32, 32)
    assert np.bincount(images.labels, minlength=10).min() >= 40
    assert bundled_file().stat().st_size < 600_000
    assert 0.3 < images.pixels.mean() < 0.6


@pytest.mark.usefixtures("offline")
def test_they_stand_in_for_cifar10_that_cannot_be_fetched_under_their_own_name() -> None:
    images = load_images("cifar10", 1000)
    assert (images.name, len(images)) == (BUNDLED_CIFAR10, 512)
    assert len(load_images("cifar10", 32)) == 32
    assert data_digest("cifar10").startswith("bundled:")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("data", "split"), [("cifar10", "train"), ("cifar100", "test")])
def test_they_stand_in_for_nothing_else(data: str, split: str) -> None:
    with pytest.raises(DownloadError, match="could not be downloaded"):
        load_images(data, 8, split=split)


@pytest.mark.usefixtures("offline")
def test_a_report_says_that_they_stood_in(tmp_path: Path) -> None:
    weights = tmp_path / "own.safetensors"
    network = build("vgg_maxpool", in_channels=3, width=4)
    save_file(network.state_dict(), weights, {"in_channels": "3", "classes": "10", "width": "4"})
    catalog = tmp_path / "own.csv"
    catalog.write_text(f"model_id,source,dataset,eps\nown,bundled:vgg_maxpool?weights={weights},cifar10,8/255\n")
    filterlens.audit(load_catalog(catalog), tmp_path / "run", lenses=["downsampling"], fast=True)
    page = (tmp_path / "run" / "index.html").read_text(encoding="utf-8")
    assert "Numbers are of 512 test images of CIFAR-10 that come with filterlens (downsampling lens)" in page
    with DumpReader(tmp_path / "run" / "dumps" / "own.h5") as dump:
        assert dump.lens("downsampling").attributes["data"] == BUNDLED_CIFAR10


@pytest.mark.realdata
def test_they_are_test_images_byte_for_byte_and_none_is_trained_on() -> None:
    if not REALDATA.is_file():
        pytest.skip(f"{REALDATA} is not here")
    with zipfile.ZipFile(REALDATA) as every, zipfile.ZipFile(bundled_file()) as bundled:
        digests = {name: sha256(bundled.read(name)).digest() for name in bundled.namelist()}
        assert all(sha256(every.read(f"test/{name}")).digest() == digest for name, digest in digests.items())
        trained = {sha256(every.read(name)).digest() for name in every.namelist() if name.startswith("train/")}
    assert not trained & set(digests.values())
