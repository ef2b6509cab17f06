"""The filters extractor: from a loaded model to a dump."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extracting import context
from torch import Tensor, nn

from filterlens.catalogs import Entry
from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import CheckpointError, InputError, LensSkipped
from filterlens.lenses.filters.extractor import extract
from filterlens.lenses.filters.options import FiltersOptions
from filterlens.lenses.kernels import choose_kernel
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.tracing.convolutions import network_convolutions

ENTRY = Entry(model_id="m", source="m.pt")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.wide = nn.Conv2d(8, 8, (1, 7), padding=(0, 3))
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, padding=1)
        self.point = nn.Conv2d(8, 16, 1)
        self.last = nn.Conv2d(16, 4, 3, stride=(2, 1))
        self.auxiliary = nn.Conv2d(16, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.point(self.depthwise(self.wide(self.stem(x))))).mean((2, 3))
        return out


def loaded(network: nn.Module | None, weights: Mapping[str, Tensor] | None = None) -> LoadedModel:
    return LoadedModel(
        model_id="m",
        source="m.pt",
        sha256="",
        weights=weights if network is None else network.state_dict(),  # type: ignore[arg-type]
        classifier=None if network is None else Classifier(network).eval(),
    )


def dump(folder: Path, model: LoadedModel, **settings: Any) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    seen: list[tuple[int, int]] = []
    path = folder / "m.h5"
    with DumpWriter(path, {"model_id": "m"}) as writer:
        options = FiltersOptions(**settings)
        written = writer.lens("filters", {})
        extract(context(model, ENTRY, None, options, written, progress=lambda *step: seen.append(step)))
    with DumpReader(path) as reader:
        group = reader.lens("filters")
        found = {name: (group.read(name), group.attributes_of(name)) for name in group.names()}
    assert seen == [(i, len(found)) for i in range(1, len(found) + 1)]
    return found


def test_every_3x3_convolution_is_written_as_the_network_holds_it(tmp_path: Path) -> None:
    network = Net()
    found = dump(tmp_path, loaded(network))
    assert list(found) == ["depthwise", "last", "auxiliary"]
    for name, (array, _) in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, network.get_parameter(f"{name}.weight").detach().numpy())


def test_attributes_say_place_groups_stride_and_type(tmp_path: Path) -> None:
    attributes = dump(tmp_path, loaded(Net()))
    assert attributes["depthwise"][1] == {
        "conv_depth": 2,
        "conv_depth_norm": 0.5,
        "depth_from": "graph",
        "dtype": "float32",
        "groups": 8,
        "stride": [1, 1],
        "folded": False,
        "order": 0,
    }
    assert attributes["last"][1]["stride"] == [2, 1]
    assert attributes["last"][1]["conv_depth_norm"] == 1


def test_a_convolution_that_is_never_called_has_no_place(tmp_path: Path) -> None:
    attributes = dump(tmp_path, loaded(Net()))["auxiliary"][1]
    assert attributes["conv_depth"] == -1
    assert math.isnan(attributes["conv_depth_norm"])


@pytest.mark.parametrize(
    ("kernel", "names"),
    [
        ("all", ["stem", "wide", "depthwise", "last", "auxiliary"]),
        ("7x7", ["stem"]),
        ("1x7", ["wide"]),
        ("1x1", ["point"]),
    ],
)
def test_the_kernel_setting_chooses_by_size(tmp_path: Path, kernel: str, names: list[str]) -> None:
    assert list(dump(tmp_path, loaded(Net()), kernel=kernel)) == names


@pytest.mark.parametrize("text", ["", "3", "3x", "0x3", "3X3", "ALL", "3x3x3", "-1x3", "99999x1"])
def test_a_kernel_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no filter size: give one such as 3x3, all, or auto"):
        choose_kernel(text, ())


def test_a_bare_state_dict_gives_the_order_of_its_keys(tmp_path: Path) -> None:
    weights = {
        "b.weight": torch.randn(4, 3, 3, 3),
        "bn.weight": torch.randn(4),
        "table": torch.randn(1, 1, 3, 3),
        "a.weight": torch.randn(4, 4, 1, 1),
        "c.conv.weight": torch.randn(2, 4, 3, 3),
    }
    found = dump(tmp_path, loaded(None, weights))
    assert list(found) == ["b", "c.conv"]
    assert [attributes["conv_depth"] for _, attributes in found.values()] == [0, 2]
    assert [attributes["conv_depth_norm"] for _, attributes in found.values()] == [0, 1]
    assert {attributes["depth_from"] for _, attributes in found.values()} == {"keys"}
    assert "groups" not in found["b"][1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_stored_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    weight = torch.randn(4, 3, 3, 3).to(dtype)
    array, attributes = dump(tmp_path, loaded(None, {"conv.weight": weight}))["conv"]
    np.testing.assert_array_equal(array, weight.float().numpy())
    assert attributes["dtype"] == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.complex64, torch.bool])
def test_weights_that_are_no_real_numbers_are_refused_by_name(tmp_path: Path, dtype: torch.dtype) -> None:
    with pytest.raises(CheckpointError, match=f"convolution 'layer1.conv' has weights of type {dtype}"):
        dump(tmp_path, loaded(None, {"layer1.conv.weight": torch.ones(4, 3, 3, 3, dtype=dtype)}))
    assert not list(tmp_path.iterdir())


def test_a_model_without_such_filters_is_skipped_and_told_what_it_has(tmp_path: Path) -> None:
    weights = {f"{name}.weight": torch.ones(2, 2, k, k) for name, k in (("a", 1), ("b", 1), ("c", 5))}
    with pytest.raises(LensSkipped, match=r"m holds no convolution with 3x3 filters, only 2 of 1x1, 1 of 5x5"):
        dump(tmp_path, loaded(None, weights), kernel="3x3")
    with pytest.raises(LensSkipped, match="larger than 1x1, only 1 of 1x1"):
        dump(tmp_path, loaded(nn.Sequential(nn.Conv2d(3, 4, 1))), kernel="all")
    with pytest.raises(LensSkipped, match="m holds no convolution weights"):
        dump(tmp_path, loaded(nn.Sequential(nn.Flatten(), nn.Linear(3, 4))))


@pytest.mark.parametrize(
    ("kernels", "chosen"),
    [((1, 7, 7, 4), "7x7"), ((16,), "16x16"), ((7, 3, 7), "3x3"), ((4, 2), "4x4")],
)
def test_by_default_3x3_or_else_the_most_frequent_square_filters_are_taken(
    tmp_path: Path, kernels: tuple[int, ...], chosen: str
) -> None:
    weights = {f"a{i}.weight": torch.ones(2, 2, k, k) for i, k in enumerate(kernels)}
    weights["strip.weight"] = torch.ones(2, 2, 1, 5)
    found = dump(tmp_path, loaded(None, weights))
    assert {"x".join(map(str, array.shape[2:])) for array, _ in found.values()} == {chosen}


def test_filters_that_are_not_square_are_taken_where_there_are_no_others(tmp_path: Path) -> None:
    assert list(
        dump(tmp_path, loaded(None, {"a.weight": torch.ones(2, 2, 1, 7), "b.weight": torch.ones(2, 2, 1, 1)}))
    ) == ["a"]


def test_folding_a_bare_state_dict_is_not_offered(tmp_path: Path) -> None:
    with pytest.raises(LensSkipped, match="holds weights only, which do not say what BatchNorm follows"):
        dump(tmp_path, loaded(None, {"a.weight": torch.ones(2, 2, 3, 3)}), fold_batchnorm=True)


def test_folded_weights_are_marked(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)).eval()
    nn.init.uniform_(network.get_buffer("1.running_var"), 1, 9)
    raw = network.get_parameter("0.weight").detach().numpy()
    found = dump(tmp_path, loaded(network), fold_batchnorm=True)
    assert [attributes["folded"] for _, attributes in found.values()] == [True, False]
    scale = network.get_buffer("1.running_var").add(1e-5).rsqrt().view(4, 1, 1, 1).numpy()
    np.testing.assert_allclose(found["0"][0], raw * scale, rtol=1e-5)


def test_parametrised_convolutions_give_their_effective_weight(tmp_path: Path) -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    layer.parametrizations.weight.original0.data.mul_(2)
    array, _ = dump(tmp_path, loaded(nn.Sequential(layer)))["0"]
    np.testing.assert_array_equal(array, layer.weight.detach().numpy())


def test_subclasses_count_as_convolutions() -> None:
    timm_layers = pytest.importorskip("timm.layers")
    network = nn.Sequential(timm_layers.StdConv2d(3, 4, 3), timm_layers.Conv2dSame(4, 4, 3, stride=2))
    assert [layer.name for layer in network_convolutions(network)] == ["0", "1"]


def test_a_network_that_does_not_run_falls_back_to_the_order_of_its_modules() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(17, 2), nn.Conv2d(4, 4, 3))
    layers = network_convolutions(network)
    assert [(layer.conv_depth, layer.conv_depth_norm, layer.depth_from) for layer in layers] == [
        (0, 0.0, "keys"),
        (1, 1.0, "keys"),
    ]


def test_extraction_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network = Net()
    before = copy.deepcopy(network.state_dict())
    dump(tmp_path, loaded(network))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.realdata
def test_a_trained_state_dict_holds_the_reference_s_layers(tmp_path: Path, realdata: Path, reference: Path) -> None:
    import pandas as pd

    state = torch.load(realdata / "resnet20-normal.th", map_location="cpu", weights_only=True)["state_dict"]
    weights = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    found = dump(tmp_path, loaded(None, weights))
    expected = pd.read_csv(reference / "resnet20-normal_filters.csv")
    assert list(found) == expected["layer"].tolist()
    assert [array.shape[0] for array, _ in found.values()] == expected["out_channels"].tolist()


def test_more_convolutions_than_any_network_has_are_refused_before_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {f"layer{number}.weight": torch.zeros(1, 1, 3, 3) for number in range(10_001)}
    with pytest.raises(CheckpointError, match=r"10,001 layers of weights: at most 10,000 of a network are scored"):
        dump(tmp_path, loaded(None, weights))
    monkeypatch.setattr("filterlens.tracing.convolutions._MOST_LAYERS", 4)
    few = dict(list(weights.items())[:4])
    assert list(dump(tmp_path, loaded(None, few))) == ["layer0", "layer1", "layer2", "layer3"]
