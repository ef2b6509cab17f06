"""The frequency lens: closed forms of the transform and the scores, and the way from a model to rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extracting import context
from numpy.typing import NDArray
from torch import Tensor, nn

import filterlens
from filterlens.catalogs import Entry
from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import DumpError, InputError, LensSkipped
from filterlens.lenses.frequency.analyzer import analyze, layer_rows
from filterlens.lenses.frequency.extractor import extract
from filterlens.lenses.frequency.options import FrequencyOptions
from filterlens.lenses.frequency.scores import FilterSpectrum, low_frequency_share, spectral_centroid
from filterlens.lenses.frequency.transform import filter_spectrum
from filterlens.loaders.model import Classifier, LoadedModel


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def scores(weight: Tensor) -> tuple[float, float]:
    spectrum = FilterSpectrum(filter_spectrum(weight), weight.shape[0] * weight.shape[1])
    return low_frequency_share(spectrum), spectral_centroid(spectrum)


def rows_of(folder: Path, network: nn.Module | None, weights: dict[str, Tensor] | None = None) -> list[dict[str, Any]]:
    model = LoadedModel(
        model_id="m",
        source="m.pt",
        sha256="",
        weights=weights or {},
        classifier=None if network is None else Classifier(network).eval(),
    )
    with DumpWriter(folder / "m.h5", {"model_id": "m"}) as writer:
        group = writer.lens("frequency", {})
        extract(context(model, Entry(model_id="m", source="m.pt"), None, FrequencyOptions(), group))
    with DumpReader(folder / "m.h5") as reader:
        return analyze(reader.lens("frequency"))


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (6, 1, 7, 7), (2, 3, 1, 5), (2, 3, 16, 16), (3, 2, 2, 2)])
def test_the_spectrum_is_the_sum_of_every_filters_own(shape: tuple[int, ...]) -> None:
    weight = random(*shape) * 1e-3
    found = filter_spectrum(weight, frequencies=24)
    dense = np.abs(np.fft.fft2(weight.double().numpy(), s=found.shape)) ** 2
    np.testing.assert_allclose(found, dense.sum((0, 1)), rtol=1e-6, atol=1e-12)


def test_parseval_the_mean_power_is_the_squared_norm() -> None:
    weight = random(8, 4, 3, 3)
    assert filter_spectrum(weight).mean() == pytest.approx(float(weight.double().square().sum()))


def test_blocks_of_filters_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = random(8, 4, 3, 3)
    whole = filter_spectrum(weight)
    monkeypatch.setattr("filterlens.lenses.frequency.transform._BLOCK", 50)
    np.testing.assert_allclose(filter_spectrum(weight), whole, rtol=1e-12)


def test_a_delta_is_flat_wherever_it_stands() -> None:
    for place in range(9):
        weight = torch.zeros(1, 1, 9)
        weight[..., place] = 3
        np.testing.assert_allclose(filter_spectrum(weight.view(1, 1, 3, 3)), 9)
    u = np.fft.fftfreq(32)
    radius = np.hypot(u[:, None], u)
    assert scores(weight.view(1, 1, 3, 3)) == pytest.approx(((radius < 0.25).mean(), radius.mean()))


def test_a_box_has_the_dirichlet_kernel_as_its_spectrum() -> None:
    omega = 2 * np.pi * np.fft.fftfreq(32)
    dirichlet = (1 + 2 * np.cos(omega)) ** 2
    np.testing.assert_allclose(filter_spectrum(torch.ones(1, 1, 3, 3)), np.outer(dirichlet, dirichlet), atol=1e-9)
    low = np.hypot(omega[:, None], omega) < np.pi / 2
    share = np.outer(dirichlet, dirichlet)[low].sum() / np.outer(dirichlet, dirichlet).sum()
    assert scores(torch.ones(1, 1, 3, 3))[0] == pytest.approx(share)
    assert share == pytest.approx(0.80, abs=0.01)  # as the lens's page says


def test_smooth_filters_are_low_and_edges_are_high() -> None:
    box, edge = torch.ones(1, 1, 3, 3), torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]]).view(1, 1, 3, 3)
    noise = random(4000, 1, 3, 3)
    low = [scores(weight)[0] for weight in (edge, noise, box)]
    high = [scores(weight)[1] for weight in (box, noise, edge)]
    assert low == sorted(low)
    assert high == sorted(high)
    assert scores(noise) == pytest.approx((0.19, 0.383), abs=0.01)


@pytest.mark.parametrize("scale", [1e-20, -3.0, 1e15])
def test_neither_scale_nor_sign_nor_order_changes_a_score(scale: float) -> None:
    weight = random(6, 5, 3, 3)
    changed = (weight * scale).flip(0).transpose(2, 3)
    assert scores(changed) == pytest.approx(scores(weight), rel=1e-6)


def test_layers_are_scored_in_execution_order_with_their_filters_as_weight(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 8, 3), nn.Conv2d(8, 2, 3))
    rows = rows_of(tmp_path, network)
    assert [(row["layer"], row["metric"], row["weight"], row["conv_depth"], row["kind"]) for row in rows] == [
        ("1", "low_frequency_share", 32, 1, "3x3"),
        ("1", "spectral_centroid", 32, 1, "3x3"),
        ("2", "low_frequency_share", 16, 2, "3x3"),
        ("2", "spectral_centroid", 16, 2, "3x3"),
    ]
    table = filterlens.measure(network, lens="frequency").set_index("layer")
    for row in rows:
        assert table.loc[row["layer"], row["metric"]] == row["value"]


def test_a_network_without_3x3_is_scored_by_its_own_filters_and_says_so(tmp_path: Path) -> None:
    weights = {"stem.weight": random(4, 3, 4, 4), "a.weight": random(4, 1, 7, 7), "b.weight": random(4, 1, 7, 7)}
    rows = rows_of(tmp_path, None, weights)
    assert {row["kind"] for row in rows} == {"7x7"}
    assert {row["note"] for row in rows} == {
        "depth is the order of the state dict's keys; means are of 7x7 filters, not 3x3"
    }


def test_sizes_are_never_mixed_in_a_mean() -> None:
    table = filterlens.measure(nn.Sequential(nn.Conv2d(3, 4, 7), nn.Conv2d(4, 4, 3)), lens="frequency", kernel="all")
    assert table["kind"].tolist() == ["7x7", "3x3"]
    power = filter_spectrum(random(4, 3, 7, 7))
    facts = {"kernel": "7x7", "n_filters": 12, "conv_depth": 0, "conv_depth_norm": 0.0}
    assert {row["weight"] for row in layer_rows("a", power, facts, (3, 3))} == {0}
    assert {row["weight"] for row in layer_rows("a", power, facts, (7, 7))} == {12}


def test_zeros_and_what_is_not_finite_have_no_score(tmp_path: Path) -> None:
    weights = {"zero.weight": torch.zeros(2, 2, 3, 3), "bad.weight": torch.full((2, 2, 3, 3), math.nan)}
    rows = rows_of(tmp_path, None, weights)
    assert all(math.isnan(row["value"]) and row["weight"] == 0 for row in rows)
    assert [str(row["note"]).startswith("skipped: holds NaN or Inf") for row in rows] == [False, False, True, True]


def test_what_has_no_filters_is_skipped_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(LensSkipped, match="m holds no convolution larger than 1x1, only 1 of 1x1"):
        rows_of(tmp_path, None, {"a.weight": torch.ones(2, 2, 1, 1)})
    with pytest.raises(LensSkipped, match="Linear holds no convolution weights"):
        filterlens.measure(nn.Linear(3, 4), lens="frequency")


@pytest.mark.parametrize("n", [0, 31, 258])
def test_a_transform_that_no_filter_has_is_refused(n: int) -> None:
    with pytest.raises(InputError, match=f"expected an even number from 2 to 256, got {n}"):
        FrequencyOptions(filter_frequencies=n)


@pytest.mark.parametrize(
    ("power", "facts", "message"),
    [
        (np.ones(4), {}, "an array of shape .* is no power spectrum of 4 filters: extract again"),
        (np.ones((4, 4)), {"n_filters": "four"}, "its n_filters was expected to be a number, got 'four'"),
        (np.ones((4, 4)), {"kernel": "large"}, "its kernel was expected to be a size, got 'large'"),
    ],
)
def test_a_dump_of_another_kind_is_refused(power: NDArray[Any], facts: dict[str, Any], message: str) -> None:
    sound = {"kernel": "3x3", "n_filters": 4, "conv_depth": 0, "conv_depth_norm": 0.0}
    with pytest.raises(DumpError, match=message):
        layer_rows("a", power, sound | facts, (3, 3))
