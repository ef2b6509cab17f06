"""Images are resized to what a model takes, which is said; what cannot be is refused with the size that is wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

import filterlens
from filterlens.errors import InputError
from filterlens.inputs import Images, resize_images
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.report.data import read_run
from filterlens.runs.fitting import fit_images
from filterlens.runs.ledger import Ledger

FACTORY = """
from torch import nn


class Windows(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        assert x.shape[2] % 16 == 0, f"height ({x.shape[2]}) must be divisible by window (16)"
        assert x.shape[2] < 100
        return self.head(self.conv(x).relu().mean((2, 3)))
"""


def images(size: int = 28, channels: int = 3, n: int = 6) -> Images:
    pixels = np.random.default_rng(0).random((n, channels, size, size), dtype=np.float32)
    return Images("mine", pixels, np.arange(n) % 4)


def loaded(network: nn.Module | None, size: tuple[int, int, int] | None = None) -> LoadedModel:
    return LoadedModel("m", "m.pt", "", {}, None if network is None else Classifier(network), size)


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 3, 32, 32).mean((2, 3))


def test_images_of_the_right_size_are_left_alone() -> None:
    own = images(32)
    for model in (loaded(Fixed()), loaded(Fixed(), (3, 32, 32)), loaded(None), loaded(None, (3, 32, 32))):
        assert fit_images(model, own) == (own, "")
    assert fit_images(loaded(None), images())[1] == ""


@pytest.mark.parametrize("size", [None, (3, 32, 32)])
def test_others_are_resized_and_it_is_said(size: tuple[int, int, int] | None) -> None:
    found, said = fit_images(loaded(Fixed(), size), images())
    assert found.pixels.shape == (6, 3, 32, 32)
    assert found.pixels.dtype == np.float32
    assert said == "images resized from 28x28 to 32x32"
    assert found.labels.tolist() == images().labels.tolist()


def test_resizing_keeps_constants_and_range_and_averages_where_it_shrinks() -> None:
    flat = Images("flat", np.full((1, 3, 28, 28), 0.25, np.float32), np.zeros(1, np.int64))
    np.testing.assert_allclose(resize_images(flat, (50, 40)).pixels, 0.25, atol=1e-6)
    small = resize_images(images(64), (8, 8)).pixels
    assert 0 <= small.min() <= small.max() <= 1
    assert small.std() < 0.5 * images(64).pixels.std()  # antialiased: noise averages out


def test_other_channels_and_another_size_than_a_manifolds_are_refused_with_what_is_wanted() -> None:
    with pytest.raises(InputError, match="images of mine are 1x28x28 but the model takes 3x32x32"):
        fit_images(loaded(Fixed(), (3, 32, 32)), images(channels=1))
    with pytest.raises(InputError, match=r"^m: Classifier does not run on images of 1x28x28"):
        fit_images(loaded(nn.Conv2d(3, 3, 3)), images(channels=1))
    on_manifold = Images("fonts", images().pixels, images().labels, latents=np.zeros((6, 6), np.float32))
    with pytest.raises(InputError, match="images of fonts are 3x28x28 but the model takes 3x32x32"):
        fit_images(loaded(Fixed()), on_manifold)


def test_an_audit_resizes_images_and_says_so_in_ledger_and_scores(tmp_path: Path) -> None:
    (tmp_path / "windows.py").write_text(FACTORY)
    (tmp_path / "mine.csv").write_text(
        "model_id,source,threat_model,eps,mean,std\nw,module:windows:Windows,Linf,8/255,0 0 0,1 1 1\n"
    )
    own = images()
    np.savez(tmp_path / "images.npz", images=own.pixels, labels=own.labels)
    settings = filterlens.RunSettings(data=str(tmp_path / "images.npz"), allow_code=True)
    filterlens.audit(
        tmp_path / "mine.csv", tmp_path / "run", lenses=["downsampling", "robustness"], fast=True, settings=settings
    )
    said = "images resized from 28x28 to 32x32"
    rows = Ledger(tmp_path / "run" / "ledger.jsonl").latest().values()
    assert [(row.lens, row.status) for row in rows] == [("downsampling", "ok"), ("robustness", "ok")]
    assert all(said in row.notes for row in rows)
    run = read_run(tmp_path / "run")
    assert run.scores["note"].str.contains(said).all()
    with run.dump("w") as dump:
        assert dump.lens("downsampling").parameters["resized"] == said
