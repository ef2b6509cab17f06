"""FONTS: the same images everywhere, on a manifold that is known and differentiable."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch

from filterlens.errors import InputError
from filterlens.inputs import fonts as room
from filterlens.inputs.fonts import FACES, LETTERS, LOWER, UPPER, decode, load_fonts, load_prototypes, warp
from filterlens.inputs.glyphs import rasterise_folder, rasterise_font

FACES_OF_MATPLOTLIB = Path(mpl.get_data_path()) / "fonts" / "ttf"
PINNED_CONDITIONS = [[2, 3], [1, 8], [5, 0], [3, 6]]
PINNED_LATENTS = [-0.1676704, -0.0390249, 0.1012892, -0.3548998, 0.7961275, -0.5436881]
PINNED_SUMS = [76.3911086, 85.8609161, 140.8951812, 169.7449387]
PINNED_ROW = [0.3838723, 0, 0, 0, 0, 0, 0, 0.1794829, 0.9582332, 0.4766489, 0, 0]
IDENTITY = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)


def some_latents(n: int) -> torch.Tensor:
    low, high = torch.tensor(LOWER, dtype=torch.float64), torch.tensor(UPPER, dtype=torch.float64)
    return low + (high - low) * torch.rand((n, 6), dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_the_same_seed_gives_the_same_images_and_more_of_them_begin_alike() -> None:
    few, many = load_fonts(5, 7), load_fonts(1203, 7)
    np.testing.assert_array_equal(few.pixels, many.pixels[:5])
    np.testing.assert_array_equal(few.labels, many.labels[:5])


def test_the_images_are_those_of_every_other_machine() -> None:
    images = load_fonts(4, 0)
    np.testing.assert_array_equal(images.conditions, PINNED_CONDITIONS)
    assert images.latents is not None
    np.testing.assert_allclose(images.latents[0], PINNED_LATENTS, atol=1e-6)
    np.testing.assert_allclose(images.pixels.sum(axis=(1, 2, 3)), PINNED_SUMS, atol=1e-3)
    np.testing.assert_allclose(images.pixels[0, 0, 14, 8:20], PINNED_ROW, atol=1e-6)


def test_seeds_and_splits_are_independent_streams() -> None:
    digests = {load_fonts(3, seed, split=split).digest for seed in (0, 1, 2) for split in ("train", "test")}
    assert len(digests) == 6


def test_images_are_what_the_decoder_draws_from_their_latents() -> None:
    images = load_fonts(50, 3)
    z, which = torch.from_numpy(images.latents), torch.from_numpy(images.conditions)
    drawn = decode(z, which[:, 0], which[:, 1])
    assert drawn.dtype == torch.float32
    np.testing.assert_allclose(drawn.numpy(), images.pixels, atol=2e-5)
    assert images.conditions is not None
    np.testing.assert_array_equal(images.labels, images.conditions[:, 1])


def test_pixels_and_latents_keep_to_their_ranges_and_every_face_and_letter_comes_up() -> None:
    images = load_fonts(2000, 1)
    assert images.pixels.min() == 0
    assert 0.99 < images.pixels.max() <= 1
    assert images.latents is not None
    assert images.conditions is not None
    assert (images.latents >= np.array(LOWER, np.float32)).all()
    assert (images.latents <= np.array(UPPER, np.float32)).all()
    assert len(np.unique(images.conditions, axis=0)) == len(FACES) * len(LETTERS)
    assert (images.pixels.sum(axis=(1, 2, 3)) > 5).all(), "a letter left the image"


def test_the_shipped_letters_are_what_the_installed_matplotlib_draws() -> None:
    names = [name for name in FACES if (FACES_OF_MATPLOTLIB / f"{name}.ttf").is_file()]
    assert len(names) >= 21
    drawn = np.stack([rasterise_font(FACES_OF_MATPLOTLIB / f"{name}.ttf") for name in names])
    shipped = np.rint(load_prototypes()[[FACES.index(name) for name in names]] * 255)
    assert np.array_equal(drawn, shipped), (
        "a matplotlib release changed its fonts; the shipped letters stay as they are"
    )


def test_damaged_letters_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "fonts.npz", prototypes=np.zeros((22, 10, 28, 28), np.uint8))
    monkeypatch.setattr(room, "__file__", str(tmp_path / "fonts.py"))
    room._prototypes.cache_clear()
    with pytest.raises(InputError, match="the file was changed; install filterlens again"):
        load_prototypes()
    room._prototypes.cache_clear()


def test_no_transformation_changes_nothing() -> None:
    images = torch.rand((3, 2, 28, 28), dtype=torch.float64)
    torch.testing.assert_close(warp(images, IDENTITY.expand(3, 6)), images)


def test_a_translation_moves_by_whole_pixels() -> None:
    z = IDENTITY.clone()
    z[0, 0], z[0, 1] = 2 * 3 / 28, -2 * 2 / 28  # three pixels right, two up
    images = torch.zeros((1, 1, 28, 28), dtype=torch.float64)
    images[0, 0, 10:15, 8:12] = torch.rand((5, 4), dtype=torch.float64)
    torch.testing.assert_close(warp(images, z), images.roll((-2, 3), dims=(2, 3)))


def test_a_quarter_turn_is_one() -> None:
    z = IDENTITY.clone()
    z[0, 5] = math.pi / 2
    images = torch.rand((1, 1, 28, 28), dtype=torch.float64)
    torch.testing.assert_close(warp(images, z), images.rot90(-1, dims=(2, 3)))


def test_a_point_lands_where_the_formula_says() -> None:
    z = some_latents(20)
    inked = torch.zeros((20, 1, 28, 28), dtype=torch.float64)
    inked[:, :, 16, 11] = 1
    point = torch.tensor([(11 + 0.5) / 14 - 1, (16 + 0.5) / 14 - 1], dtype=torch.float64)
    drawn = warp(inked, z)[:, 0]
    centres = (torch.arange(28, dtype=torch.float64) + 0.5) / 14 - 1
    mass = drawn.sum(dim=(1, 2))
    landed = torch.stack([(drawn * centres).sum(dim=(1, 2)), (drawn * centres[:, None]).sum(dim=(1, 2))], dim=1)
    for i in range(20):
        move, shear, scale, angle = z[i, :2], z[i, 2:4], z[i, 4], z[i, 5]
        turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
        skew = torch.stack([torch.stack([scale.new_ones(()), shear[0]]), torch.stack([shear[1], scale.new_ones(())])])
        expected = turn @ (scale * skew @ point) + move
        assert (landed[i] / mass[i] - expected).abs().max() < 0.5 / 14, "further than half a pixel"


def test_the_decoders_gradients_are_those_of_finite_differences() -> None:
    z = some_latents(2).requires_grad_()
    font, letter = torch.tensor([3, 20]), torch.tensor([0, 7])
    assert torch.autograd.gradcheck(lambda v: decode(v, font, letter), (z,), eps=1e-8, atol=1e-4, rtol=1e-3)


def test_optimising_the_latents_recovers_a_known_image() -> None:
    images = load_fonts(8, 11)
    target = torch.from_numpy(images.pixels)
    which = torch.from_numpy(images.conditions)
    truth = torch.from_numpy(images.latents)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    z = (truth + 0.05 * noise).requires_grad_()
    optimiser = torch.optim.Adam([z], lr=0.01)
    before = torch.tensor(0.0)
    for step in range(150):
        distance = (decode(z, which[:, 0], which[:, 1]) - target).flatten(1).norm(dim=1)
        before = distance.detach().mean() if step == 0 else before
        optimiser.zero_grad()
        distance.square().sum().backward()
        optimiser.step()
    after = (decode(z, which[:, 0], which[:, 1]) - target).flatten(1).norm(dim=1).mean()
    assert before > 0.5
    assert after < 0.05
    assert (z.detach() - truth).abs().median() < 0.01


def test_a_folder_of_fonts_replaces_the_shipped_faces(tmp_path: Path) -> None:
    for name in ("DejaVuSans", "cmr10"):
        (tmp_path / f"{name}.ttf").symlink_to(FACES_OF_MATPLOTLIB / f"{name}.ttf")
    names, _ = rasterise_folder(tmp_path)
    assert names == ("DejaVuSans", "cmr10")
    images = load_fonts(40, 0, fonts=tmp_path)
    assert images.conditions is not None
    assert set(images.conditions[:, 0]) == {0, 1}
    np.testing.assert_array_equal(load_prototypes(tmp_path)[1], load_prototypes()[FACES.index("cmr10")])


def test_a_folder_without_fonts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.ttf file"):
        load_fonts(1, fonts=tmp_path)


def test_a_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font at all")
    with pytest.raises(InputError, match=r"broken\.ttf cannot be read as a TrueType font"):
        load_fonts(1, fonts=tmp_path)


def test_a_font_without_letters_is_refused(tmp_path: Path) -> None:
    (tmp_path / "symbols.ttf").symlink_to(FACES_OF_MATPLOTLIB / "STIXSizOneSymReg.ttf")
    with pytest.raises(InputError, match=r"symbols\.ttf has no letter 'A'"):
        load_fonts(1, fonts=tmp_path)


@pytest.mark.parametrize(("n", "seed", "split"), [(-1, 0, "test"), (1, -1, "test"), (1, 0, "validation")])
def test_wrong_settings_are_refused(n: int, seed: int, split: str) -> None:
    with pytest.raises(InputError, match="FONTS needs n ≥ 0"):
        load_fonts(n, seed, split=split)  # type: ignore[arg-type]


def test_the_letters_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load_prototypes()[0] = 0


def test_importing_fonts_loads_neither_torch_nor_matplotlib() -> None:
    code = "import sys, filterlens.inputs.fonts; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
