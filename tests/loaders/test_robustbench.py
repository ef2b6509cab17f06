"""RobustBench's zoo through the real loader, offline: random weights in its own cache layout and container format."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from filterlens.catalogs import Catalog, Entry
from filterlens.errors import CheckpointError, DownloadError
from filterlens.loaders import load_model
from filterlens.loaders.robustbench import zoo
from filterlens.loaders.robustbench_compat import made_without_cuda, robustbench
from filterlens.runs import analyze, extract

# one model of each architecture family with convolutions; the container that its authors used
FAMILIES = [
    ("Wong2020Fast", "PreActResNet-18", False),
    ("Andriushchenko2020Understanding", "PreActResNet-18 of its own", False),
    ("Addepalli2021Towards_RN18", "ResNet-18", False),
    ("Engstrom2019Robustness", "ResNet-50", True),
    ("Carmon2019Unlabeled", "WideResNet-28-10", True),
    ("Rade2021Helper_R18_extra", "DeepMind PreActResNet-18", False),
    ("Gowal2021Improving_28_10_ddpm_100m", "DeepMind WideResNet-28-10", True),
    ("Huang2021Exploring", "WideResNet-34-R", True),
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FILTERLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _entry(name: str) -> Entry:
    return Entry(model_id=name, source=f"robustbench:cifar10/Linf/{name}", dataset="cifar10")


def _write_checkpoint(name: str, cache: Path) -> dict[str, torch.Tensor]:
    """Build the zoo's own constructor and save its random weights where and as robustbench keeps them."""
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = zoo()["cifar10", "Linf"][name]["model"]().state_dict()
    path = cache / "cifar10" / "Linf" / f"{name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = "module." if name == "Carmon2019Unlabeled" else ""
    container = "last" if name.startswith("Andriushchenko") else "state_dict"
    torch.save({container: {prefix + key: value for key, value in state.items()}, "epoch": 3}, path)
    return state


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, id=family, marks=[pytest.mark.slow] * big) for name, family, big in FAMILIES],
)
def test_each_family_is_extracted_by_the_real_loader_offline(name: str, cache: Path, tmp_path: Path) -> None:
    state = _write_checkpoint(name, cache)
    outcome = extract(Catalog("one", (_entry(name),), tmp_path), tmp_path / "run")
    assert outcome.count("ok") == 1, outcome.rows
    scores = analyze(tmp_path / "run")
    layers = set(scores["layer"])
    expected = {key.removesuffix(".weight") for key, value in state.items() if value.ndim == 4 and value.shape[2] == 3}
    assert layers == expected
    assert scores["conv_depth_norm"].max() > 0.9  # the depth is that of the graph; the deepest may be 1x1
    assert not list(cache.rglob("*.tmp"))


def test_the_loaded_network_computes_what_the_zoos_constructor_does(cache: Path, tmp_path: Path) -> None:
    name = "Addepalli2021Towards_RN18"
    state = _write_checkpoint(name, cache)
    model = load_model(_entry(name), tmp_path, offline=True)
    network = zoo()["cifar10", "Linf"][name]["model"]()
    network.load_state_dict(state)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.require_classifier("any")(images), network.eval()(images))


def test_a_model_that_is_not_cached_says_where_it_belongs_when_offline(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"Wong2020Fast\.pt"):
        load_model(_entry("Wong2020Fast"), tmp_path, offline=True)
    assert not list(cache.rglob("*.pt"))


def test_weights_of_another_architecture_are_refused_with_the_file(cache: Path, tmp_path: Path) -> None:
    path = cache / "cifar10" / "Linf" / "Wong2020Fast.pt"
    path.parent.mkdir(parents=True)
    torch.save({"conv1.weight": torch.randn(4, 3, 3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"Wong2020Fast\.pt does not fit RobustBench's Wong2020Fast"):
        load_model(_entry("Wong2020Fast"), tmp_path, offline=True)


def test_an_unknown_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no 'Nobody2030Nothing'"):
        load_model(_entry("Nobody2030Nothing"), tmp_path)


def test_the_zoos_import_leaves_no_stand_in_behind() -> None:
    import sys

    zoo()
    assert "pkg_resources" not in sys.modules or hasattr(sys.modules["pkg_resources"], "Distribution")


def test_a_network_whose_constructor_asks_for_a_gpu_is_made_without_one() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    robustbench()
    resnets = importlib.import_module("robustbench.model_zoo.architectures.bit_rn")
    with pytest.raises((RuntimeError, AssertionError)):
        resnets.ResNetV2([1, 1, 1, 1], 1, head_size=10)
    with made_without_cuda():
        network = resnets.ResNetV2([1, 1, 1, 1], 1, head_size=10)
    assert network(torch.rand(1, 3, 64, 64))[0].shape == (1, 10)
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(1).cuda()
