"""Sources that bring a network: the bundled zoos, timm, your own module, ONNX, matched normal models from Zenodo."""

from __future__ import annotations

import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from filterlens.catalogs import Entry, load_catalog
from filterlens.errors import CheckpointError
from filterlens.inputs import load_images
from filterlens.loaders import load_model
from filterlens.loaders.robustbench import zoo


def test_every_bundled_model_loads_and_takes_glyphs() -> None:
    catalog = load_catalog("fonts-linf")
    for entry in catalog:
        model = load_model(entry, catalog.folder, offline=True)
        assert model.input_size == (1, 28, 28)
        assert model.require_classifier("any")(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_a_bundled_robust_model_reads_clean_letters() -> None:
    catalog = load_catalog("fonts-linf")
    entry = next(entry for entry in catalog if entry.robust)
    images = load_images("fonts", 50)
    with torch.no_grad():
        logits = load_model(entry, catalog.folder).require_classifier("any")(torch.from_numpy(images.pixels))
    assert (logits.argmax(1).numpy() == images.labels).mean() >= 0.9


def test_a_bundled_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        load_model(Entry(model_id="x", source="bundled:fonts/nowhere"), tmp_path)


def test_your_own_factory_gets_its_weights_and_normalisation(tmp_path: Path) -> None:
    (tmp_path / "tiny_nets_for_test.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    torch.save({"0.weight": torch.ones(4, 3, 3, 3), "0.bias": torch.zeros(4)}, tmp_path / "w.pt")
    source = "module:tiny_nets_for_test:net?weights=w.pt"
    with pytest.raises(CheckpointError, match=r"w\.pt"):  # the linear layer's weights are missing
        load_model(Entry(model_id="x", source=source), tmp_path, allow_code=True)
    (tmp_path / "tiny_nets_for_test2.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())\n"
    )
    entry = Entry(
        model_id="x", source="module:tiny_nets_for_test2:net?weights=w.pt", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    logits = load_model(entry, tmp_path, allow_code=True).require_classifier("any")(torch.ones(1, 3, 3, 3))
    torch.testing.assert_close(logits, torch.full((1, 4), 27 * 0.5 / 0.25))


def test_a_matched_normal_model_comes_out_of_its_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILTERLENS_CACHE", str(tmp_path / "cache"))
    name = "Addepalli2021Towards_RN18"
    torch.manual_seed(1)
    state = zoo()["cifar10", "Linf"][name]["model"]().state_dict()
    inside = tmp_path / f"robustbench_{name}" / "version_0" / "checkpoints"
    inside.mkdir(parents=True)
    lightning = {"state_dict": {f"model.{key}": value for key, value in state.items()}, "epoch": 99}
    torch.save(lightning, inside / "epoch=99-step=1.ckpt")
    folder = tmp_path / "cache" / "zenodo" / "7097538"
    folder.mkdir(parents=True)
    with tarfile.open(folder / f"cifar10_normal_robustbench_{name}.tar", "w") as archive:
        archive.add(tmp_path / f"robustbench_{name}", arcname=f"robustbench_{name}")
    entry = Entry(model_id="normal", source=f"zenodo:7097538/cifar10/{name}")
    model = load_model(entry, tmp_path, offline=True)
    key = next(key for key, value in state.items() if value.ndim == 4)
    torch.testing.assert_close(model.weights[key], state[key])
    assert model.require_classifier("any")(torch.rand(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "share"), [("resnet20-normal", 0.812), ("resnet20-robust", 0.687)])
def test_onnx_networks_classify_as_published(realdata: Path, name: str, share: float) -> None:
    catalog = load_catalog(realdata / "catalog.csv")
    images = load_images(str(realdata / "cifar10_test_1000.npz"), 256)
    with torch.no_grad():
        logits = load_model(catalog[name], catalog.folder).require_classifier("any")(torch.from_numpy(images.pixels))
    assert np.mean(logits.argmax(1).numpy() == images.labels) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("source", ["timm:resnet18", "timm:vit_tiny_patch16_224", "torchvision:squeezenet1_1"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])  # which sorts names, so that the classifier is not the last
def test_ones_own_weights_fill_an_architecture_for_as_many_classes(tmp_path: Path, source: str, suffix: str) -> None:
    name = source.partition(":")[2]
    made = timm.create_model if source.startswith("timm") else partial(torchvision.models.get_model, weights=None)
    network = made(name, num_classes=7)
    path = tmp_path / f"own.{suffix}"
    if suffix == "pt":
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    loaded = load_model(Entry(model_id="own", source=f"{source}?weights={path}"), tmp_path)
    assert loaded.classifier is not None
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(loaded.classifier(images), network.eval()(images))


def test_a_file_without_the_architectures_classifier_is_refused(tmp_path: Path) -> None:
    save_file({"layer1.weight": torch.rand(4, 4)}, tmp_path / "own.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no classifier of this architecture \(fc.weight, fc.bias\)"):
        load_model(Entry(model_id="own", source=f"timm:resnet18?weights={tmp_path / 'own.safetensors'}"), tmp_path)


def test_a_training_modules_weights_fill_the_network_that_it_holds(tmp_path: Path) -> None:
    """Lightning's `self.net = …; self.criterion = CrossEntropyLoss(weight=…)`: the network's names are below `net.`."""
    network = timm.create_model("mobilenetv3_small_050", num_classes=7)
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state | {"criterion.weight": torch.ones(7)}}, tmp_path / "own.ckpt")
    source = f"timm:mobilenetv3_small_050?weights={tmp_path / 'own.ckpt'}"
    loaded = load_model(Entry(model_id="own", source=source), tmp_path)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.require_classifier("any")(images), network.eval()(images))
    assert loaded.notes[-1] == "the network is 'net.' of the weights; left out: criterion.weight"


def test_a_training_module_that_holds_two_networks_is_refused_with_their_names(tmp_path: Path) -> None:
    state = timm.create_model("mobilenetv3_small_050", num_classes=7).state_dict()
    twice = {f"{prefix}.{name}": value for prefix in ("student", "teacher") for name, value in state.items()}
    torch.save(twice, tmp_path / "own.pt")
    source = f"timm:mobilenetv3_small_050?weights={tmp_path / 'own.pt'}"
    with pytest.raises(CheckpointError, match=r"several networks of this architecture \(student\., teacher\.\)"):
        load_model(Entry(model_id="own", source=source), tmp_path)


def test_weights_averaged_by_torch_are_a_networks(tmp_path: Path) -> None:
    network = timm.create_model("mobilenetv3_small_050", num_classes=7)
    torch.save(torch.optim.swa_utils.AveragedModel(network).state_dict(), tmp_path / "swa.pt")
    bare = load_model(Entry(model_id="own", source="swa.pt"), tmp_path)
    assert bare.weights.keys() == network.state_dict().keys()


def test_a_stem_for_small_images_is_told_how_to_be_named(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(num_classes=10).state_dict() | {"conv1.weight": torch.rand(64, 3, 3, 3)}
    torch.save(state, tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match=r"\(64, 3, 3, 3\).*stem for small images.*module:package\.mod:factory"):
        load_model(Entry(model_id="own", source="torchvision:resnet18?weights=own.pt"), tmp_path)
