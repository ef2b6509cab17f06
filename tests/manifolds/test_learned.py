from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from filterlens.errors import CheckpointError, InputError
from filterlens.inputs import Images, load_images, load_split
from filterlens.manifolds import Learned, Points, distance, load_learned
from filterlens.manifolds.fit import Fit, fit_manifold
from filterlens.manifolds.learned import load_module_pair, read_card
from filterlens.manifolds.vae import Decoder, Encoder, Shape


class LinearEncoder(nn.Module):
    """The exact inverse of `LinearDecoder` on its images."""

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (images[:, 0, :2, :2].flatten(1) - 0.5) / 0.1 - labels[:, None].float() * 0.5


class LinearDecoder(nn.Module):
    """Four latents shift four pixels; the class shifts them all and lights a pixel of its own."""

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        images = torch.full((len(latents), 1, 8, 8), 0.5, dtype=latents.dtype)
        corner = 0.5 + 0.1 * (latents + labels[:, None] * 0.5)
        top = torch.cat([corner.reshape(-1, 2, 2), images[:, 0, :2, 2:]], dim=2)
        images = torch.cat([top, images[:, 0, 2:]], dim=1)[:, None]
        mark = torch.zeros_like(images)
        mark[torch.arange(len(latents)), 0, 7, labels] = 0.4
        return images + mark


def pair() -> tuple[nn.Module, nn.Module, int]:
    """For `module:` sources."""
    return LinearEncoder(), LinearDecoder(), 4


@pytest.fixture
def linear() -> tuple[Learned, Points, torch.Tensor]:
    labels = torch.tensor([0, 1, 2, 0, 1])
    latents = 2 * torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) - 1
    return Learned(*pair()[:2], latent=4), Points(LinearDecoder()(latents, labels), labels), latents


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[Any]]:
    path = tmp_path_factory.mktemp("learned") / "fonts.safetensors"
    heard: list[Any] = []
    card = fit_manifold(
        load_images("fonts", 200, split="train"), load_images("fonts", 30), path,
        Fit(epochs=3, batch_size=25, width=8), progress=lambda *said: heard.append(said),
    )  # fmt: skip
    return path, card, heard


def test_known_latents_are_encoded_and_decoded(linear: tuple[Learned, Points, torch.Tensor]) -> None:
    manifold, points, latents = linear
    torch.testing.assert_close(manifold.encode(points), latents)
    assert distance(points.pixels, manifold.decode(latents, points)).max() < 1e-6


def test_images_of_the_decoder_have_distance_zero(linear: tuple[Learned, Points, torch.Tensor]) -> None:
    manifold, points, latents = linear
    other = manifold.decode((latents + 0.7).clamp(-2, 2), points)
    assert distance(other, manifold.project(other, points)).max() < 1e-3


def test_an_image_moved_along_a_normal_has_that_distance(linear: tuple[Learned, Points, torch.Tensor]) -> None:
    manifold, points, _ = linear
    moved = points.pixels.clone()
    moved[:, 0, 5, 5] += 0.2
    np.testing.assert_allclose(distance(moved, manifold.project(moved, points)), 0.2, atol=1e-4)


def test_latents_stop_at_the_bounds(linear: tuple[Learned, Points, torch.Tensor]) -> None:
    manifold, points, _ = linear
    far = points.pixels.clone()
    far[:, 0, 0, 0] = 0.95
    projected = manifold.project(far, points)
    highest = 0.5 + 0.1 * (2 + 0.5 * points.labels)
    torch.testing.assert_close(projected[:, 0, 0, 0], highest, atol=1e-4, rtol=0)


def test_the_class_is_that_of_the_decoder(linear: tuple[Learned, Points, torch.Tensor]) -> None:
    manifold, points, latents = linear
    assert torch.equal(manifold.class_of(points.pixels, points, latents), points.labels)
    other = Points(points.pixels, (points.labels + 1) % 3)
    assert torch.equal(manifold.class_of(points.pixels, other, latents), points.labels)


def test_its_tangent_space_has_the_latents_dimension(linear: tuple[Learned, Points, torch.Tensor]) -> None:
    manifold, points, _ = linear
    assert ((manifold.tangent(points).norm(dim=2) > 0.5).sum(dim=1) == 4).all()


def test_a_decoder_of_another_size_or_range_is_refused(linear: tuple[Learned, Points, torch.Tensor]) -> None:
    _, points, latents = linear
    wide = Points(torch.rand(5, 1, 9, 9), points.labels)
    with pytest.raises(InputError, match=r"shape \(5, 1, 8, 8\), the data has \(5, 1, 9, 9\)"):
        Learned(*pair()[:2], latent=4).decode(latents, wide)

    class Bright(LinearDecoder):
        def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return super().forward(latents, labels) + 1

    with pytest.raises(InputError, match="end it with a sigmoid"):
        Learned(LinearEncoder(), Bright(), latent=4).decode(latents, points)


def test_an_encoder_of_another_size_is_refused(linear: tuple[Learned, Points, torch.Tensor]) -> None:
    _, points, _ = linear
    with pytest.raises(InputError, match=r"expected \(5, 7\)"):
        Learned(*pair()[:2], latent=7).encode(points)


@pytest.mark.parametrize("shape", [Shape(1, 28, 28, 10), Shape(3, 32, 32, 10, 12), Shape(1, 9, 13, 2, 3, 8)])
def test_networks_fit_images_of_any_size(shape: Shape) -> None:
    labels = torch.arange(4) % shape.classes
    images = torch.rand(4, shape.channels, shape.height, shape.width)
    latents = Encoder(shape)(images, labels)
    assert latents.shape == (4, shape.latent)
    decoded = Decoder(shape)(latents, labels)
    assert decoded.shape == images.shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1


def test_training_lowers_the_reconstruction_error(saved: tuple[Path, dict[str, Any], list[Any]]) -> None:
    _, card, heard = saved
    assert [said[:2] for said in heard] == [(1, 3), (2, 3), (3, 3)]
    assert heard[-1][2]["reconstruction"] < 0.9 * heard[0][2]["reconstruction"]
    assert card["reconstruction_l2"] > 0


def test_a_saved_manifold_comes_back_the_same(saved: tuple[Path, dict[str, Any], list[Any]]) -> None:
    path, card, _ = saved
    manifold = load_learned(path)
    points = Points.of(load_images("fonts", 30))
    with torch.no_grad():
        again = manifold.decode(manifold.encode(points), points)
    # the card clips nothing, encode clips latents to the bounds
    assert distance(points.pixels, again).mean().item() == pytest.approx(card["reconstruction_l2"], rel=0.05)
    assert read_card(path)["data"] == "fonts"
    assert json.loads((path.parent / f"{path.name}.json").read_text())["images"] == 200


def test_the_same_seed_learns_the_same(saved: tuple[Path, dict[str, Any], list[Any]], tmp_path: Path) -> None:
    _, card, _ = saved
    again = fit_manifold(
        load_images("fonts", 200, split="train"), load_images("fonts", 30), tmp_path / "b.safetensors",
        Fit(epochs=3, batch_size=25, width=8),
    )  # fmt: skip
    assert again["reconstruction_l2"] == pytest.approx(card["reconstruction_l2"], rel=1e-4)


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="is no learned manifold"):
        load_learned(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="is no learned manifold"):
        load_learned(path)


def test_weights_that_do_not_fit_their_card_are_refused(
    saved: tuple[Path, dict[str, Any], list[Any]], tmp_path: Path
) -> None:
    path, _, _ = saved
    broken = tmp_path / "broken.safetensors"
    card = {"filterlens_manifold": json.dumps(read_card(path))}
    save_file({"encoder.head.weight": torch.zeros(3)}, broken, metadata=card)
    with pytest.raises(CheckpointError, match="weights and card do not fit"):
        load_learned(broken)


def learned_file(path: Path, card: object, **tensors: torch.Tensor) -> Path:
    """A file of the right kind that says whatever it likes."""
    text = card if isinstance(card, str) else json.dumps(card)
    save_file(tensors or {"encoder.w": torch.zeros(3)}, path, metadata={"filterlens_manifold": text})
    return path


GOOD = {"channels": 1, "height": 8, "width": 8, "classes": 2, "latent": 2, "width_factor": 8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 2**31}, "height is 2147483648; expected a whole number from 1 to 4096"),
        ({"classes": 10**30}, "classes is 10"),
        ({"latent": -1}, "latent is -1"),
        ({"latent": float("nan")}, "latent is nan"),
        ({"channels": True}, "channels is True"),
        ({"width": "8"}, "width is '8'"),
        ({"width_factor": 12}, "expected a multiple of 8"),
        ({"width_factor": [8]}, r"width_factor is \[8\]"),
        ({"__class__": 1}, "unexpected keyword argument"),
    ],
)
def test_a_card_of_impossible_sizes_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = learned_file(tmp_path / "a.safetensors", {"shape": GOOD | change})
    with pytest.raises(CheckpointError, match=f"is no learned manifold .*{message}"):
        load_learned(path)


@pytest.mark.parametrize("card", ["[" * 100_000, "[]", "null", '{"shape": []}', "1" * 5000, "{}", '"\\ud800"'])
def test_a_card_that_is_no_card_is_refused(tmp_path: Path, card: str) -> None:
    with pytest.raises(CheckpointError, match="is no learned manifold"):
        load_learned(learned_file(tmp_path / "a.safetensors", card))


def test_a_card_alone_takes_no_memory(tmp_path: Path) -> None:
    """The largest networks that a card can ask for have 10^15 weights."""
    most = {"channels": 16, "height": 4096, "width": 4096, "classes": 100_000, "latent": 10_000, "width_factor": 4096}
    path = learned_file(tmp_path / "a.safetensors", {"shape": most})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="weights and card do not fit"):
        load_learned(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\xff" * 100, (2**40).to_bytes(8, "little") + b"{}"])
def test_a_header_longer_than_its_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is no learned manifold"):
        load_learned(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(
    saved: tuple[Path, dict[str, Any], list[Any]], tmp_path: Path, value: float
) -> None:
    from safetensors.torch import load_file

    path, _, _ = saved
    weights = load_file(path)
    weights["decoder.head.weight"][0, 0] = value
    odd = learned_file(tmp_path / "a.safetensors", read_card(path), **weights)
    with pytest.raises(CheckpointError, match="weights are no finite float32 numbers"):
        load_learned(odd)
    weights["decoder.head.weight"][0, 0] = 0
    load_learned(learned_file(tmp_path / "a.safetensors", read_card(path), **weights))


def test_loaded_weights_are_those_of_the_file(saved: tuple[Path, dict[str, Any], list[Any]]) -> None:
    from safetensors.torch import load_file

    path, _, _ = saved
    manifold = load_learned(path)
    found = {f"encoder.{name}": value for name, value in manifold._encoder.state_dict().items()}
    found |= {f"decoder.{name}": value for name, value in manifold._decoder.state_dict().items()}
    expected = load_file(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_manifold_that_is_no_regular_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "a.safetensors"
    make(path)
    with pytest.raises(CheckpointError, match=r"cannot be read .*no regular file"):
        load_learned(path)


def test_a_users_pair_is_called_by_name(
    linear: tuple[Learned, Points, torch.Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is found where the user is; what it only imports is not called."""
    test_file = str(Path(__file__))
    (tmp_path / "my_manifold.py").write_text(
        "import runpy\n"
        "from os import getcwd\n"
        f"made = runpy.run_path({test_file!r})\n"
        "def pair():\n    return made['pair']()\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    _, points, latents = linear
    manifold = load_module_pair("module:my_manifold:pair")
    torch.testing.assert_close(manifold.encode(points), latents)
    assert manifold.name == "module:my_manifold:pair"
    with pytest.raises(InputError, match="the factory returned int"):
        load_module_pair("module:my_manifold:wrong")
    with pytest.raises(InputError, match=r"there is no module 'no_such_module_here'.*give module:package\.mod:factory"):
        load_module_pair("module:no_such_module_here:pair")
    with pytest.raises(InputError, match="a function or class that my_manifold defines was expected"):
        load_module_pair("module:my_manifold:getcwd")


def test_too_few_or_too_small_images_are_refused(tmp_path: Path) -> None:
    small = Images("dots", np.zeros((4, 1, 4, 4), np.float32), np.zeros(4, np.int64))
    with pytest.raises(InputError, match="at least 8x8 pixels"):
        fit_manifold(small, small, tmp_path / "x.safetensors")
    far = Images("dots", np.zeros((4, 1, 8, 8), np.float32), np.array([0, 1, 2, 2**40]))
    with pytest.raises(InputError, match="no manifold can be learned of dots: classes is 1099511627777"):
        fit_manifold(far, far, tmp_path / "x.safetensors")


def test_every_tenth_image_of_a_file_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    pixels = np.random.default_rng(0).integers(0, 255, (30, 8, 8, 3), dtype=np.uint8)
    np.savez(path, images=pixels, labels=np.arange(30) % 3)
    train, held_out = load_split(str(path), 100)
    assert (len(train), len(held_out)) == (27, 3)
    np.testing.assert_array_equal(held_out.pixels, load_images(str(path), 30).pixels[9::10])


def test_fonts_have_splits_of_their_own() -> None:
    train, held_out = load_split("fonts", 20)
    assert (len(train), len(held_out)) == (20, 20)
    assert train.digest != held_out.digest
