"""Networks and images that a notebook holds: audited, compared, checked and inspected as files would be."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import filterlens
from filterlens.commands.bounds import BoundCheck
from filterlens.errors import InputError
from filterlens.loaders.memory import held
from filterlens.runs.ledger import Ledger

NORMALISED: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}


class Net(nn.Module):
    """Two convolutions, BatchNorm, and a head."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.norm(self.stem(images)))
        logits: Tensor = self.head(torch.relu(self.down(maps)).mean(dim=(2, 3)))
        return logits


@pytest.fixture
def images() -> Tensor:
    return torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(12) % 10


def state_of(network: nn.Module) -> dict[str, Any]:
    """Everything that a measurement could change."""
    return {
        "weights": {name: value.clone() for name, value in network.state_dict().items()},
        "modes": [module.training for module in network.modules()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()],
        "gradients": [parameter.requires_grad for parameter in network.parameters()],
    }


def assert_same_state(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert all(torch.equal(value, other["weights"][name]) for name, value in one["weights"].items())
    assert {name: found for name, found in one.items() if name != "weights"} == {
        name: found for name, found in other.items() if name != "weights"
    }


def test_a_network_has_the_scores_of_its_checkpoint(tmp_path: Path) -> None:
    network = Net()
    torch.save(network.state_dict(), tmp_path / "net.pt")
    change = filterlens.compare(network, tmp_path / "net.pt")
    known = change[change["first"].notna() & change["second"].notna()]
    assert len(known) > 5
    assert set(known["difference"]) == {0.0}
    other = filterlens.compare(network, Net(1))
    assert (other["difference"].abs() > 0).any(), "a control: another network differs"


def test_an_audit_leaves_the_network_as_it_was(tmp_path: Path, images: Tensor, labels: Tensor) -> None:
    network = Net().train()
    before = state_of(network)
    done = filterlens.audit(
        {"a": network, "b": Net(1)}, tmp_path / "run", lenses=["filters", "robustness"], fast=True,
        images=images, labels=labels, eps=8 / 255, **NORMALISED,
    )  # fmt: skip
    assert done.count("ok") == 4
    assert_same_state(before, state_of(network))
    assert done.page is not None
    assert repr(done) == f"Outcome({str(tmp_path / 'run')!r}: 2 models, 4 ok; report: {done.page})"
    run = filterlens.Run(tmp_path / "run")
    normalised = (images - 0.5) / 0.2
    with torch.no_grad():
        right = copy.deepcopy(network).eval()(normalised).argmax(1) == labels
    assert run.models["clean_accuracy"]["a"] == pytest.approx(float(right.float().mean()))
    shown = run._repr_html_()
    assert "<th>a</th>" in shown
    assert "Orthogonality" in shown, "models without pairs are shown by their scores"


def test_the_same_networks_again_are_not_done_again(tmp_path: Path, images: Tensor, labels: Tensor) -> None:
    def extract(network: nn.Module, *, pixels: Tensor = images, **how: Any) -> int:
        how |= {"images": pixels, "labels": labels}
        return filterlens.extract(network, tmp_path / "run", lenses=["downsampling"], **NORMALISED, **how).reused

    network = Net()
    assert extract(network) == 0
    assert extract(copy.deepcopy(network)) == 1, "an equal network, as in another session"
    assert extract(nn.DataParallel(network)) == 1, "what is in a wrapper counts"
    with torch.no_grad():
        network.stem.weight[0, 0, 0, 0] += 1e-3
    assert extract(network, replace=True) == 0
    assert extract(network, pixels=images.flip(0), replace=True) == 0, "other images"
    assert len(list((tmp_path / "run").glob("images-*.npz"))) == 2


def test_the_code_of_a_network_counts() -> None:
    class Other(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * 2

    class Helped(Net):
        def scale(self) -> float:
            return 2.0

    Other.__qualname__ = Helped.__qualname__ = Net.__qualname__
    with held([Net(), Net(), Other(), Helped(), Net(1)]) as sources:
        first, same, *others = sources
    assert first == same
    assert len({first, *others}) == 4


def test_a_run_of_networks_goes_on_without_them(tmp_path: Path) -> None:
    filterlens.audit(Net(), tmp_path / "run")
    filterlens.analyze(tmp_path / "run")
    assert filterlens.report(tmp_path / "run").is_file()
    again = filterlens.extract(tmp_path / "run" / "catalog.csv", tmp_path / "other")
    (row,) = again.rows
    assert row.status == "failed"
    assert "was in the memory of the process that audited it" in row.reason
    (kept,) = Ledger(tmp_path / "run" / "ledger.jsonl").latest().values()
    assert kept.model_id == "Net"
    assert "outside the network's own classes are not seen" in kept.notes[0]


def test_check_and_inspect_take_a_network(images: Tensor, labels: Tensor) -> None:
    passed, failed, alive = filterlens.check(Net(), ["sparsity<0.9", "layer-orthogonality>0.99"])
    assert (passed.passed, failed.passed, alive.passed) == (True, False, True)
    assert isinstance(failed, BoundCheck)
    assert (failed.model, failed.layer) == ("Net", "stem")
    accuracy, _ = filterlens.check(
        Net(), ["clean-accuracy<=1"], lenses=["robustness"], images=images.numpy(), labels=labels.numpy(),
        eps=8 / 255, **NORMALISED,
    )  # fmt: skip
    assert accuracy.passed
    assert set(filterlens.inspect(Net()).layers["layer"]) == {"stem", "down"}
    same = filterlens.check(Net(), against=Net())
    assert all(result.passed for result in same)
    assert not all(result.passed for result in filterlens.check(Net(1), against=Net(), tolerance=0))


def test_what_cannot_be_audited_is_said_and_leaves_nothing(tmp_path: Path, images: Tensor, labels: Tensor) -> None:
    def refused(match: str, model: Any = None, **how: Any) -> None:
        with pytest.raises(InputError, match=match):
            filterlens.audit(Net() if model is None else model, tmp_path / "run", **how)
        assert not list(tmp_path.rglob("*.npz"))

    down = {"lenses": ["downsampling"]}
    refused("images in memory go with labels", images=images, **down)
    refused("images in memory go with labels", labels=labels, **down)
    refused(r"float images lie in .*expected \[0, 1\] without normalisation", images=images * 3, labels=labels, **down)
    refused("12 images but 3 labels", images=images, labels=labels[:3], **down)
    refused("has an option 'images'", images=images, labels=labels)
    refused("leave out jobs and executor", jobs=2)
    refused("several by name were expected, got a int", model=3)
    refused("several by name were expected, got none", model={})
    refused("several by name were expected, got a str", model={"a": "b.pt"})
    settings = filterlens.RunSettings(data="fonts")
    refused("images are given twice", images=images, labels=labels, settings=settings, **down)


def test_a_bar_shows_how_far_an_audit_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filterlens.audit({"one": Net(), "two": Net(1)}, tmp_path / "run", show=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "2/2 models" in said.err
    assert "report, " in said.err
    filterlens.audit({"one": Net(), "two": Net(1)}, tmp_path / "run", show=True)
    assert "2 of 2 models are done already" in capsys.readouterr().out
    filterlens.audit({"one": Net(), "two": Net(1)}, tmp_path / "run")
    assert capsys.readouterr() == ("", "")


def test_images_as_uint8_and_channels_last_are_the_same(tmp_path: Path, labels: Tensor) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    how: dict[str, Any] = {"lenses": ["downsampling"], "labels": labels, **NORMALISED}
    one = filterlens.compare(Net(), Net(), images=pixels, **how)
    other = filterlens.compare(Net(), Net(), images=floats, **how)
    assert one["first"].tolist() == pytest.approx(other["first"].tolist(), nan_ok=True)
