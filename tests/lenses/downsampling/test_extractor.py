"""The extractor streams dense maps of the right channels, in a type that holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extracting import chosen, context
from torch import Tensor, nn

from filterlens.catalogs import Entry
from filterlens.dumps import DumpGroup, DumpReader, DumpWriter
from filterlens.errors import InputError, LensSkipped
from filterlens.inputs.images import Images
from filterlens.lenses.downsampling import extractor as downsampling
from filterlens.lenses.downsampling.analyzer import analyze
from filterlens.lenses.downsampling.extractor import choose_channels, extract
from filterlens.lenses.downsampling.options import DownsamplingOptions
from filterlens.loaders.model import Classifier, LoadedModel

ENTRY = Entry(model_id="tiny", source="tiny.pt")


def some_images(n: int = 5, size: int = 16) -> Images:
    generator = np.random.default_rng(0)
    return Images("noise", generator.random((n, 3, size, size), dtype=np.float32), np.zeros(n, dtype=np.int64))


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1, stride=2), nn.Flatten()
    )


def loaded(network: nn.Module | None) -> LoadedModel:
    classifier = None if network is None else Classifier(network, (0.5, 0.5, 0.5), (0.2, 0.3, 0.4)).eval()
    return LoadedModel("tiny", "tiny.pt", "", {}, classifier)


def run(tmp_path: Path, network: nn.Module | None, pictures: Images | None, **settings: object) -> Path:
    path = tmp_path / "tiny.h5"
    steps: list[tuple[int, int]] = []
    options, own = chosen(DownsamplingOptions, settings)
    with DumpWriter(path, {"model_id": "tiny"}) as writer:
        group = writer.lens("downsampling", {})
        extract(
            context(
                loaded(network), ENTRY, pictures, options, group, settings=own,
                progress=lambda done, total: steps.append((done, total)),
            )
        )  # fmt: skip
    assert steps[-1][0] == steps[-1][1]
    return path


def read(path: Path, function: Callable[[DumpGroup], Any]) -> Any:
    with DumpReader(path) as reader:
        return function(reader.lens("downsampling"))


def test_the_dump_holds_the_dense_map_of_every_operation_in_order(tmp_path: Path) -> None:
    images = some_images()
    path = run(tmp_path, tiny(), images, batch_size=2)
    with DumpReader(path) as reader:
        group = reader.lens("downsampling")
        assert group.names() == ["0", "2", "3"]
        assert [group.shape(name) for name in group.names()] == [(5, 8, 16, 16), (5, 8, 8, 8), (5, 4, 4, 4)]
        assert group.attributes_of("0") == {
            "operation": "conv2d", "kind": "main", "kernel": [3, 3], "stride": [2, 2], "groups": 1,
            "channels": list(range(8)), "n_channels": 8, "order": 0,
        }  # fmt: skip
        assert group.attributes == {"parameters": "{}", "images": 5, "data": "noise", "data_sha256": images.digest}
        assert group.read("0").dtype == np.float16
        maps = group.read("0").astype(np.float32)
    network = tiny()
    normalised = (torch.from_numpy(images.pixels) - 0.5) / torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
    dense = nn.functional.conv2d(
        normalised, network.get_parameter("0.weight"), network.get_parameter("0.bias"), padding=1
    )
    np.testing.assert_allclose(maps, dense.detach().numpy(), rtol=1e-3, atol=1e-4)


def test_batch_size_does_not_change_the_scores(tmp_path: Path) -> None:
    scores = [
        [row["value"] for row in read(run(tmp_path, tiny(), some_images(7), batch_size=size), analyze)]
        for size in (1, 3, 64)
    ]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-4)
    np.testing.assert_allclose(scores[2], scores[0], rtol=1e-4)


def test_only_as_many_images_and_channels_as_asked_for_are_kept(tmp_path: Path) -> None:
    path = run(tmp_path, tiny(), some_images(), images=2, channels=3, seed=4)
    with DumpReader(path) as reader:
        group = reader.lens("downsampling")
        assert group.shape("0") == (2, 3, 16, 16)
        kept = group.attributes_of("0")["channels"]
        few = group.read("0")
    assert kept == choose_channels("0", 8, keep=3, seed=4)
    every = read(run(tmp_path, tiny(), some_images(), images=2, channels=None), lambda group: group.read("0"))
    np.testing.assert_allclose(few, every[:, kept], rtol=1e-2, atol=1e-3)


def test_channels_are_chosen_by_seed_and_layer_alone() -> None:
    first = choose_channels("conv1", 256, keep=64, seed=0)
    assert first == choose_channels("conv1", 256, keep=64, seed=0)
    assert first != choose_channels("conv1", 256, keep=64, seed=1)
    assert first != choose_channels("conv2", 256, keep=64, seed=0)
    assert first == sorted(set(first))
    assert choose_channels("conv1", 256, keep=None, seed=0) == list(range(256))


class Scaled(nn.Module):
    """Its maps grow with the image's number: float16 holds the first ones only."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.pool = factor, nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(x * self.factor).flatten(1)
        return out


@pytest.mark.parametrize(("factor", "dtype"), [(1.0, "float16"), (1e5, "float32"), (1e-6, "float32"), (0.0, "float16")])
def test_a_layer_that_float16_cannot_hold_is_kept_in_float32(tmp_path: Path, factor: float, dtype: str) -> None:
    maps = read(run(tmp_path, Scaled(factor), some_images()), lambda group: group.read("pool"))
    assert maps.dtype == dtype
    assert np.isfinite(maps).all()


def test_an_overflow_in_a_later_batch_widens_what_is_already_written(tmp_path: Path) -> None:
    images = some_images(4)
    images.pixels[3] *= 1e6
    path = run(tmp_path, Scaled(1.0), images, batch_size=1)
    with DumpReader(path) as reader:
        group = reader.lens("downsampling")
        maps, attributes = group.read("pool"), group.attributes_of("pool")
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert attributes["kind"] == "pool"
    assert attributes["order"] == 0
    alone = read(run(tmp_path, Scaled(1.0), images.first(3), batch_size=1), lambda group: group.read("pool"))
    np.testing.assert_array_equal(maps[:3], alone)


def test_weights_alone_and_a_model_that_never_downsamples_are_skipped(tmp_path: Path) -> None:
    with pytest.raises(LensSkipped, match="weights only"):
        run(tmp_path, None, some_images())
    with pytest.raises(LensSkipped, match="tiny downsamples nowhere"):
        run(tmp_path, nn.Conv2d(3, 4, 3), some_images())
    assert not (tmp_path / "tiny.h5").exists()


def test_no_images_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs images for tiny"):
        run(tmp_path, tiny(), None)


class Windows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x.unflatten(2, (2, -1)).transpose(1, 2).flatten(0, 1), 2)


class Moody(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.shape[0] == 1 else nn.functional.max_pool2d(x, 2)


def test_models_whose_maps_do_not_belong_to_one_image_each_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="max_pool2d makes 10 maps of 5 images"):
        run(tmp_path, Windows(), some_images())
    with pytest.raises(InputError, match="max_pool2d ran for 4 of 5 images only"):
        run(tmp_path, Moody(), some_images(), batch_size=2)


def test_large_inputs_go_through_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downsampling, "_BATCH_SAMPLES", 2 * 3 * 16 * 16)
    seen: list[int] = []
    network = tiny()
    network.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    run(tmp_path, network, some_images())
    assert seen == [2, 2, 1]
