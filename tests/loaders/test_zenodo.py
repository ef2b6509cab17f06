"""A record of Zenodo names files, sizes and checksums; whatever else it answers is told."""

from __future__ import annotations

import socket

import pytest
import timm
import torch
from loaders.conftest import Load

from filterlens.errors import CheckpointError, DownloadError
from filterlens.loaders import zenodo
from filterlens.loaders.robustbench import untrained

FILE = "cifar10_normal_robustbench_Wong2020Fast.tar"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "has no file"),
        ({}, "has no file"),
        ({"files": None}, "has no file"),
        ({"files": {"key": FILE}}, "has no file"),
        ({"files": [None, 3, [], {"key": None}]}, "has no file"),
        ({"files": [{"key": FILE}]}, "no size and checksum"),
        ({"files": [{"key": FILE, "size": "12", "checksum": "md5:0"}]}, "no size and checksum"),
        ({"files": [{"key": FILE, "size": -1, "checksum": "md5:0"}]}, "no size and checksum"),
        ({"files": [{"key": FILE, "size": 10**30, "checksum": "md5:0"}]}, "no size and checksum"),
        ({"files": [{"key": FILE, "size": 12, "checksum": ""}]}, "no size and checksum"),
        ({"files": [{"key": FILE, "size": 12, "checksum": "crc32:0\x1b"}]}, r"has the checksum crc32:0\\x1b"),
    ],
)
def test_a_record_that_says_too_little_is_told(
    load: Load, monkeypatch: pytest.MonkeyPatch, answer: object, message: str
) -> None:
    monkeypatch.setattr(zenodo, "fetch_json", lambda _: answer)
    with pytest.raises(DownloadError, match=message):
        load("zenodo:1/cifar10/Wong2020Fast")


@pytest.mark.parametrize(
    "rest", ["1/../x", "1/cifar10/..%2f", "x/cifar10/A", "1/cifar10", "\u0661/cifar10/A", "1/c/a/b"]
)
def test_a_name_that_is_none_is_told(load: Load, rest: str) -> None:
    with pytest.raises(CheckpointError, match="was expected to read zenodo:RECORD/DATASET/NAME"):
        load(f"zenodo:{rest}")


def test_an_architecture_that_robustbench_fetches_with_its_weights_is_built_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RobustBench's constructors of XCiT and of ImageNet's standard network download through timm and torchvision."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("reached")

    monkeypatch.setattr(socket, "create_connection", forbidden)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_url", forbidden)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", forbidden)
    network = untrained("cifar10", "Linf", "Debenedetti2022Light_XCiT-S12")
    assert network is not None
    assert next(reversed(network.state_dict().values())).shape == (10,)
    assert untrained("imagenet", "Linf", "Standard_R50") is None
