"""The perturbation lens: identities of its spectra and noise, models whose critical band is known, a user's run."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from extracting import chosen, context
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from typer.testing import CliRunner

from filterlens.catalogs import Entry
from filterlens.cli.app import app
from filterlens.dumps import DumpGroup, DumpReader, DumpWriter
from filterlens.errors import DumpError, InputError, LensSkipped
from filterlens.inputs.images import Images
from filterlens.lenses.perturbation.analyzer import analyze
from filterlens.lenses.perturbation.bands import band_noise, band_of, edges_for, power, radius
from filterlens.lenses.perturbation.extractor import extract
from filterlens.lenses.perturbation.options import PerturbationOptions
from filterlens.lenses.perturbation.scores import (
    Frequencies,
    critical_bandwidth,
    critical_frequency,
    perturbation_centroid,
    perturbation_low_share,
)
from filterlens.loaders.model import Classifier, LoadedModel

ENTRY = Entry(model_id="small", source="small.pt", dataset="cifar10", threat_model="Linf", eps=8 / 255)


def frequencies(accuracy: Any, *, clean: float = 1.0, side: int = 32, attack: Any = None) -> Frequencies:
    return Frequencies(clean, edges_for(side, side), np.asarray(accuracy, float), np.ones((side, side)), attack)


class Wave(nn.Module):
    """Correlates the image with a cosine across: right as long as no noise at its frequency drowns it."""

    def __init__(self, cycles: int, side: int = 32) -> None:
        super().__init__()
        wave = torch.cos(2 * math.pi * cycles * torch.arange(side) / side)
        self.register_buffer("wave", wave.expand(3, side, side) / (3 * side * side))

    def forward(self, pixels: Tensor) -> Tensor:
        found = (pixels * self.get_buffer("wave")).sum(dim=(1, 2, 3))
        return torch.stack([-found, found], dim=1) * 1000


def waves(cycles: int, n: int = 24, side: int = 32) -> Images:
    """Images of a weak cosine, up or down by their label."""
    labels = np.arange(n, dtype=np.int64) % 2
    wave = np.cos(2 * np.pi * cycles * np.arange(side) / side) * 0.01
    pixels = np.full((n, 3, side, side), 0.5) + (2 * labels - 1)[:, None, None, None] * wave
    return Images("waves", pixels.astype(np.float32), labels)


def model(network: nn.Module) -> LoadedModel:
    classifier = Classifier(network, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).eval()
    return LoadedModel("small", "small.pt", "", network.state_dict(), classifier)


def measured(path: Path, loaded: LoadedModel, images: Images | None, row: Any = None, **given_: Any) -> DumpGroup:
    with DumpWriter(path, {"model_id": "small"}) as dump:
        options, run = chosen(PerturbationOptions, given_)
        group = dump.lens("perturbation", {})
        extract(context(loaded, ENTRY.model_copy(update=row or {}), images, options, group, settings=run))
    return DumpReader(path).lens("perturbation")


def scored(group: DumpGroup) -> dict[str, float]:
    return {str(row["metric"]): float(str(row["value"])) for row in analyze(group) if "layer" not in row}


@given(st.integers(0, 2**31), st.sampled_from([(8, 8), (9, 12), (28, 28), (5, 32)]))
@settings(max_examples=20, deadline=None)
def test_a_power_spectrum_adds_up_to_the_squared_norm(seed: int, size: tuple[int, int]) -> None:
    images = np.random.default_rng(seed).standard_normal((3, 2, *size))
    assert power(images).sum() == pytest.approx((images**2).sum(axis=(1, 2, 3)).mean())
    assert power(images)[0, 0] == pytest.approx((images.sum(axis=(2, 3)) ** 2).sum(axis=1).mean() / math.prod(size))


@pytest.mark.parametrize("side", [16, 28, 32, 64, 224])
def test_every_frequency_but_zero_is_in_one_band_and_every_band_holds_some(side: int) -> None:
    bands, edges = band_of(side, side), edges_for(side, side)
    assert bands[0, 0] == -1
    assert (np.delete(bands.ravel(), 0) >= 0).all()
    assert np.array_equal(np.unique(bands[bands >= 0]), np.arange(len(edges) - 1))
    inside = bands >= 0
    assert (edges[bands[inside]] < radius(side, side)[inside]).all()
    assert (radius(side, side)[inside] <= edges[bands[inside] + 1]).all()
    assert np.allclose(edges[1:] / edges[:-1], math.sqrt(2))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 24, 40)])
def test_noise_of_each_band_has_one_norm_no_mean_and_nothing_outside_its_band(shape: tuple[int, int, int]) -> None:
    noise, bands = band_noise(shape, seed=1, place=4), band_of(*shape[1:])
    for band, one in enumerate(noise):
        assert np.sqrt((one.astype(float) ** 2).mean()) == pytest.approx(1, rel=1e-5)
        spectrum = power(one[None].astype(float))
        assert spectrum[bands != band].sum() < 1e-9 * spectrum.sum()
    assert np.array_equal(noise, band_noise(shape, seed=1, place=4))
    assert not np.array_equal(noise, band_noise(shape, seed=1, place=5))
    assert not np.array_equal(noise, band_noise(shape, seed=2, place=4))


def test_noise_that_harms_one_band_only_has_its_frequency_and_no_width() -> None:
    accuracy = np.ones(10)
    accuracy[3] = 0.2
    found = frequencies(accuracy)
    low, high = found.edges[3:5]
    assert critical_frequency(found) == pytest.approx(math.sqrt(low * high))
    assert critical_bandwidth(found) == pytest.approx(0, abs=1e-6)


def test_two_bands_alike_lie_on_both_sides_of_the_critical_frequency() -> None:
    accuracy = np.ones(10)
    accuracy[[2, 6]] = 0.5  # four half octaves apart: σ = 1 octave
    assert critical_bandwidth(frequencies(accuracy)) == pytest.approx(math.sqrt(8 * math.log(2)))


def test_all_bands_alike_are_as_wide_as_the_page_says_and_none_has_no_score() -> None:
    assert critical_bandwidth(frequencies(np.zeros(10))) == pytest.approx(3.38, abs=0.01)
    assert math.isnan(critical_frequency(frequencies(np.ones(10))))
    assert math.isnan(critical_bandwidth(frequencies(np.ones(10), clean=0.5)))


def test_white_noise_and_a_single_wave_have_the_known_centroid_and_share() -> None:
    white = frequencies(np.ones(10), attack=np.ones((32, 32)))
    assert perturbation_centroid(white) == pytest.approx(0.383, abs=0.002)
    assert perturbation_low_share(white) == pytest.approx(0.19, abs=0.01)
    wave = np.zeros((32, 32))
    wave[0, 4] = wave[0, -4] = 1
    assert perturbation_centroid(frequencies(np.ones(10), attack=wave)) == pytest.approx(4 / 32)
    assert perturbation_low_share(frequencies(np.ones(10), attack=wave)) == 1
    assert math.isnan(perturbation_low_share(frequencies(np.ones(10), attack=np.zeros((32, 32)))))


@pytest.mark.parametrize("cycles", [2, 5, 12])
def test_the_critical_band_of_a_model_of_one_wave_is_the_waves_and_attacks_go_there(
    tmp_path: Path, cycles: int
) -> None:
    found = scored(measured(tmp_path / "a.h5", model(Wave(cycles)), waves(cycles), {"threat_model": "L2", "eps": 0.5}))
    frequency = cycles / 32
    edges = edges_for(32, 32)
    place = int(np.searchsorted(edges, frequency)) - 1
    assert found["critical_frequency"] == pytest.approx(math.sqrt(edges[place] * edges[place + 1]), rel=1e-6)
    assert found["critical_bandwidth"] == pytest.approx(0, abs=1e-4)
    # PGD's random start keeps a little of every frequency
    assert found["perturbation_centroid"] == pytest.approx(frequency, abs=0.03)
    assert found["image_centroid"] == pytest.approx(frequency, abs=1e-3)


def test_a_model_that_sees_nothing_but_the_mean_is_harmed_by_no_band(tmp_path: Path) -> None:
    class Mean(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            found = pixels.mean(dim=(1, 2, 3)) - 0.5
            return torch.stack([-found, found], dim=1) * 100

    images = waves(3)
    flat = Images(
        "flat",
        np.full_like(images.pixels, 0.5) + (0.2 * images.labels - 0.1).astype(np.float32)[:, None, None, None],
        images.labels,
    )
    found = scored(measured(tmp_path / "a.h5", model(Mean()), flat))
    assert found["band_noise_accuracy"] == 1
    assert math.isnan(found["critical_frequency"])
    assert found["perturbation_low_share"] == pytest.approx(1, abs=0.01)  # it moves the mean alone


def test_without_a_ball_there_is_noise_and_no_attack(tmp_path: Path) -> None:
    group = measured(tmp_path / "a.h5", model(Wave(3)), waves(3), {"threat_model": "corruptions", "eps": None})
    rows = analyze(group)
    assert not {"perturbation_centroid", "perturbation_low_share"} & {row["metric"] for row in rows}
    assert scored(group)["critical_frequency"] > 0
    assert all("no attack: the catalog gives no ball" in str(row["note"]) for row in rows)


def test_batches_change_nothing_bands_weigh_nothing_and_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.get_buffer("1.running_mean").normal_(0, 0.3)
    before, loaded, images = copy.deepcopy(network.state_dict()), model(network), waves(3, n=7)
    groups = [measured(tmp_path / f"{size}.h5", loaded, images, batch_size=size, seed=2) for size in (3, 64)]
    assert np.array_equal(groups[0].read("predictions_noise"), groups[1].read("predictions_noise"))
    assert np.allclose(groups[0].read("perturbation_power"), groups[1].read("perturbation_power"), rtol=1e-3)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    rows = [row for row in analyze(groups[0]) if "layer" in row]
    assert len(rows) == 10
    assert {(row["kind"], row["weight"]) for row in rows} == {("band", 0.0)}
    assert np.mean([row["value"] for row in rows]) == pytest.approx(scored(groups[0])["band_noise_accuracy"])


def test_bare_weights_are_skipped_and_noise_that_is_none_is_refused(tmp_path: Path) -> None:
    bare = LoadedModel("small", "small.pt", "", {"a.weight": torch.zeros(1)}, None)
    with pytest.raises(LensSkipped, match="perturbation"):
        measured(tmp_path / "a.h5", bare, waves(3))
    for noise in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="noise_rms: expected a positive number"):
            PerturbationOptions(noise_rms=noise)


def test_a_dump_whose_arrays_do_not_belong_together_is_refused(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "labels": np.zeros(4, np.int64), "predictions_clean": np.zeros(4, np.int32), "edges": edges_for(8, 8),
        "predictions_noise": np.zeros((3, 6, 4), np.int32), "image_power": np.ones((8, 8)),
    }  # fmt: skip
    wrong: dict[str, tuple[Any, str]] = {
        "edges": (edges_for(8, 8)[::-1].copy(), "do not belong to 4 labels"),
        "predictions_noise": (np.zeros((3, 5, 4), np.int32), "do not belong to 4 labels and 7 ends"),
        "image_power": (np.ones(8), "is no power spectrum"),
    }
    for name, (array, said) in wrong.items():
        with DumpWriter(tmp_path / f"{name}.h5", {"model_id": "small"}) as dump:
            group = dump.lens("perturbation", {})
            for key, value in (arrays | {name: array}).items():
                group.write(key, value)
        with pytest.raises(DumpError, match=said):
            analyze(DumpReader(tmp_path / f"{name}.h5").lens("perturbation"))


def test_a_user_audits_models_and_sees_spectra_and_bands(tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = CliRunner().invoke(
        app,
        ["audit", "--leaderboard", "fonts-linf", "--models", "preact_resnet-*-s0", "--lens", "perturbation", "--fast",
         "--images", "6", "--noise-rms", "0.2", "--out", str(out)],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    figure = pd.read_csv(out / "figures" / "perturbation_spectra.csv")
    assert set(figure["what"]) == {"images", "attack", "accuracy"}
    assert set(figure["side"]) == {"robust", "normal", "unpaired"}
    images = figure[figure["what"] == "images"].groupby("frequency")["value"].mean()
    assert images.iloc[0] > 10 * images.iloc[-1]  # letters are smooth
    table = pd.read_csv(out / "tables" / "band_noise.csv")
    assert len(table) == 10
    scores = pd.read_parquet(out / "scores.parquet")
    assert scores["note"].str.contains("noise of 0.2 x ½, 1 and 2").all()
