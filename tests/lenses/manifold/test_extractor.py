from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extracting import chosen, context
from numpy.typing import NDArray
from torch import nn

from filterlens.attacks import Attacked
from filterlens.catalogs import Entry
from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import InputError, LensSkipped
from filterlens.inputs import Images, load_images
from filterlens.lenses.manifold.analyzer import analyze
from filterlens.lenses.manifold.extractor import attack_of, extract
from filterlens.lenses.manifold.options import ManifoldOptions
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.manifolds import Fonts, Neighbours, Points
from filterlens.manifolds.attacking import Attack, attack_batch

Array = NDArray[Any]
Row = dict[str, Any]

ENTRY = Entry(model_id="tiny", source="tiny.pt", dataset="fonts", eps=0.3)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A tiny network that was trained a little, with BatchNorm statistics of its own."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(576, 10),
    )  # fmt: skip
    train = Points.of(load_images("fonts", 600, split="train"))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(6):
        for rows in torch.arange(600).split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(train.pixels[rows]), train.labels[rows]).backward()
            optimiser.step()
    return net.eval()


def run(
    tmp_path: Path, network: nn.Module, settings: dict[str, Any], images: Images, name: str = "d.h5"
) -> tuple[dict[str, Array], dict[str, Any], list[Row]]:
    model = LoadedModel("tiny", "tiny.pt", "", {}, Classifier(network))
    seen = []
    with DumpWriter(tmp_path / name, {"model_id": "tiny"}) as dump:
        options, own = chosen(ManifoldOptions, settings)
        extract(
            context(
                model, ENTRY, images, options, dump.lens("manifold", {}), settings=own,
                progress=lambda done, total: seen.append((done, total)),
            )
        )  # fmt: skip
    assert seen[-1][0] == seen[-1][1]
    with DumpReader(tmp_path / name) as reader:
        group = reader.lens("manifold")
        return {key: group.read(key) for key in group.names()}, group.attributes, list(analyze(group))


@pytest.fixture(scope="module")
def fonts_run(
    tmp_path_factory: pytest.TempPathFactory, network: nn.Module
) -> tuple[dict[str, Array], dict[str, Any], list[Row], Images]:
    images = load_images("fonts", 24)
    return *run(tmp_path_factory.mktemp("m"), network, {"fast": True, "images": 24}, images), images


def test_on_manifold_examples_keep_eta_and_the_latent_bounds(
    fonts_run: tuple[dict[str, Array], dict[str, Any], list[Row], Images],
) -> None:
    arrays, facts, _, _ = fonts_run
    low, high = (bound.numpy() for bound in Fonts().latent_bounds)
    moved = arrays["latents"] + arrays["latent_perturbation"]
    assert np.abs(arrays["latent_perturbation"]).max() <= facts["eta"] + 1e-6
    assert np.abs(arrays["latent_perturbation"]).max() > 0.1
    assert (moved >= low - 1e-6).all()
    assert (moved <= high + 1e-6).all()


def test_a_smaller_eta_is_kept_too(tmp_path: Path, network: nn.Module) -> None:
    arrays, facts, _ = run(tmp_path, network, {"fast": True, "images": 4, "eta": 0.05}, load_images("fonts", 4))
    assert facts["eta"] == 0.05
    assert 0.03 < np.abs(arrays["latent_perturbation"]).max() <= 0.05 + 1e-6


def test_every_image_lies_in_the_unit_box(
    fonts_run: tuple[dict[str, Array], dict[str, Any], list[Row], Images],
) -> None:
    arrays, _, _, _ = fonts_run
    for kind in ("clean", "attacked", "on_manifold", "decoded"):
        assert arrays[f"images_{kind}"].shape == (24, 1, 28, 28)
        assert arrays[f"images_{kind}"].min() >= 0
        assert arrays[f"images_{kind}"].max() <= 1


def test_the_regular_attack_keeps_its_ball(
    fonts_run: tuple[dict[str, Array], dict[str, Any], list[Row], Images],
) -> None:
    arrays, facts, _, _ = fonts_run
    assert facts["eps"] == 0.3
    assert arrays["norm_linf_attacked"].max() <= 0.3 + 1e-6
    slow = np.abs(arrays["images_attacked"] - arrays["images_clean"]).max(axis=(1, 2, 3))
    np.testing.assert_allclose(arrays["norm_linf_attacked"], slow, atol=1e-6)


def test_success_is_what_the_classifier_says(
    fonts_run: tuple[dict[str, Array], dict[str, Any], list[Row], Images], network: nn.Module
) -> None:
    arrays, _, _, images = fonts_run
    with torch.no_grad():
        for kind, flag in (("attacked", "success_attacked"), ("on_manifold", "success_on_manifold")):
            predicted = network(torch.from_numpy(arrays[f"images_{kind}"])).argmax(1).numpy()
            np.testing.assert_array_equal(arrays[flag], predicted != images.labels)
    assert arrays["success_attacked"].any()


def test_regular_attacks_leave_the_manifold_and_on_manifold_ones_do_not(
    fonts_run: tuple[dict[str, Array], dict[str, Any], list[Row], Images],
) -> None:
    arrays, _, rows, _ = fonts_run
    value = {row["metric"]: row["value"] for row in rows}
    assert value["distance_ratio_attacked"] > 0.9
    assert arrays["distance_on_manifold"].max() < 1e-3
    assert arrays["distance_clean"].max() < 1e-3
    assert arrays["label_kept_on_manifold"].all()


def test_noise_is_as_long_as_the_regular_perturbation_and_stays_in_the_unit_box(
    fonts_run: tuple[dict[str, Array], dict[str, Any], list[Row], Images],
) -> None:
    arrays, _, _, _ = fonts_run
    np.testing.assert_allclose(arrays["norm_l2_noise"], arrays["norm_l2_attacked"], rtol=1e-5)
    assert arrays["images_noise"].min() >= 0
    assert arrays["images_noise"].max() <= 1
    moved = (arrays["images_noise"] - arrays["images_clean"]).reshape(24, -1)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), arrays["norm_l2_attacked"], rtol=1e-5)


def test_no_distance_exceeds_the_perturbation(
    fonts_run: tuple[dict[str, Array], dict[str, Any], list[Row], Images],
) -> None:
    arrays, _, _, _ = fonts_run
    for kind in ("attacked", "noise"):
        assert (arrays[f"distance_{kind}"] <= arrays[f"norm_l2_{kind}"] + 1e-5).all()


def test_the_model_is_left_as_it_was(network: nn.Module) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    points = Points.of(load_images("fonts", 6))
    network.train()
    attack_batch(network, Fonts(starts=1, iterations=2), points, Attack(0.3, "Linf", steps=2, restarts=1))
    assert network.training
    network.eval()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_batches_do_not_change_the_attack(tmp_path: Path, network: nn.Module) -> None:
    images = load_images("fonts", 10)
    one, _, _ = run(tmp_path, network, {"fast": True, "images": 10, "batch_size": 64}, images, "a.h5")
    many, _, _ = run(tmp_path, network, {"fast": True, "images": 10, "batch_size": 3}, images, "b.h5")
    for name in ("success_attacked", "success_on_manifold", "correct"):
        np.testing.assert_array_equal(one[name], many[name])
    for name in ("norm_l2_attacked", "latent_perturbation", "angle_attacked", "norm_l2_noise"):
        np.testing.assert_allclose(one[name], many[name], atol=1e-3)


def test_neighbours_give_distances_but_no_on_manifold_attack(tmp_path: Path, network: nn.Module) -> None:
    images = load_images("fonts", 8)
    arrays, facts, rows = run(tmp_path, network, {"fast": True, "manifold": "neighbours"}, images)
    assert facts["manifold"] == "neighbours"
    assert not facts["same_class"]
    assert "of the same class" not in rows[0]["note"]
    assert not [name for name in arrays if "on_manifold" in name]
    assert (arrays["distance_clean"] < 1e-5).all()
    assert (arrays["distance_held_out"] > 0.1).all()
    assert (arrays["distance_attacked_held_out"] > arrays["distance_held_out"]).mean() > 0.8
    sine = np.sin(np.radians(arrays["angle_attacked"]))
    np.testing.assert_allclose(arrays["distance_attacked"], sine * arrays["norm_l2_attacked"], rtol=1e-3)
    assert rows


def test_the_same_class_is_an_option_and_named(tmp_path: Path, network: nn.Module) -> None:
    images = load_images("fonts", 8)
    every, _, _ = run(tmp_path, network, {"fast": True, "manifold": "neighbours"}, images, "a.h5")
    own, facts, rows = run(
        tmp_path, network, {"fast": True, "manifold": "neighbours", "same_class": True}, images, "b.h5"
    )
    assert facts["same_class"]
    assert "manifold neighbours of the same class" in rows[0]["note"]
    assert (own["distance_held_out"] != every["distance_held_out"]).any()


def test_noise_that_nothing_clips_leaves_neighbours_as_its_dimension_says(network: nn.Module) -> None:
    """Grey images have room on both sides: there the closed form of a random direction holds."""
    train, test = load_images("fonts", 2000, split="train"), load_images("fonts", 8)
    manifold = Neighbours(torch.from_numpy(0.4 + 0.2 * train.pixels), torch.from_numpy(train.labels), k=50)
    points = Points(torch.from_numpy(0.4 + 0.2 * test.pixels), torch.from_numpy(test.labels))
    out = attack_batch(network, manifold, points, Attack(0.05, "Linf", steps=2, restarts=1))
    expected = (1 - 50 / 784) ** 0.5
    assert (out["distance_noise"] / out["norm_l2_noise"]).mean().item() == pytest.approx(expected, abs=0.02)


def test_noise_beside_nearly_binary_glyphs_lies_nearer_than_noise_that_leaves_the_box(network: nn.Module) -> None:
    """What the box forbids points away from the data: without clipping the yardstick reads too high."""
    train, points = load_images("fonts", 2000, split="train"), Points.of(load_images("fonts", 8))
    manifold = Neighbours(torch.from_numpy(train.pixels), torch.from_numpy(train.labels), k=50)
    out = attack_batch(network, manifold, points, Attack(0.3, "Linf", steps=2, restarts=1))
    assert (out["distance_noise"] / out["norm_l2_noise"]).max().item() < (1 - 50 / 784) ** 0.5 - 0.01


def test_noise_that_the_box_cannot_hold_is_left_out_and_counted(
    tmp_path: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attack that turns every pixel over is longer than any clipped random direction can be."""
    images = load_images("fonts", 6)

    def turn_over(
        _forward: Callable[[torch.Tensor], torch.Tensor],
        pixels: torch.Tensor,
        labels: torch.Tensor,
        **_settings: object,
    ) -> Attacked:
        moved = pixels.clone()
        moved[:2] = (1 - pixels[:2]).round()
        moved[2:] = (pixels[2:] + 0.1).clamp(0, 1)
        return Attacked(moved, torch.zeros(6), torch.zeros(6, 10), labels >= 0)

    monkeypatch.setattr("filterlens.manifolds.attacking.attack", turn_over)
    arrays, _, rows = run(tmp_path, network, {"fast": True, "manifold": "neighbours"}, images)
    for name in ("norm_l2_noise", "distance_noise", "angle_noise"):
        assert np.isnan(arrays[name]).tolist() == [True, True, False, False, False, False]
    note = "the box holds no noise of the attack's norm beside 2 images"
    assert all(note in row["note"] for row in rows)
    value = {row["metric"]: row["value"] for row in rows}
    assert 0.5 < value["distance_ratio_noise"] < 1
    assert value["distance_noise_mean"] > 0


def test_fast_settings_take_few_images_unless_told(tmp_path: Path, network: nn.Module) -> None:
    arrays, facts, _ = run(tmp_path, network, {"fast": True, "manifold": "neighbours"}, load_images("fonts", 60))
    assert len(arrays["labels"]) == 24
    assert facts["fast"]
    assert len(arrays["images_clean"]) == 24


def test_the_attack_follows_the_catalog() -> None:
    glyphs = load_images("fonts", 1)
    assert attack_of(Entry(model_id="a", source="a"), glyphs, ManifoldOptions.paper(), 0) == Attack(0.3, "Linf")
    known = Entry(model_id="a", source="a", eps=0.5, threat_model="L2")
    assert (
        attack_of(known, glyphs, ManifoldOptions.paper(), 0).norm,
        attack_of(known, glyphs, ManifoldOptions.paper(), 0).eps,
    ) == ("L2", 0.5)
    assert attack_of(known, glyphs, ManifoldOptions.fast(), 0).restarts == 1


def test_weights_without_a_network_are_skipped() -> None:
    with pytest.raises(LensSkipped, match="weights only"):
        extract(context(LoadedModel("a", "a", "", {}), ENTRY, None, ManifoldOptions(), None))  # type: ignore[arg-type]  # nothing is written


def test_no_images_are_refused(network: nn.Module) -> None:
    model = LoadedModel("a", "a", "", {}, Classifier(network))
    with pytest.raises(InputError, match="needs images for tiny"):
        extract(context(model, ENTRY, None, ManifoldOptions(), None))  # type: ignore[arg-type]  # nothing is written
