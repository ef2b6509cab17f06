"""Training with on-manifold examples of a learned manifold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from filterlens.errors import CheckpointError, InputError
from filterlens.inputs.fonts import load_fonts
from filterlens.manifolds import Points, load_learned
from filterlens.manifolds.fit import Fit, fit_manifold
from filterlens.training.loop import train
from filterlens.training.plan import TrainingPlan
from filterlens.training.recipes import AttackBudget, TrainingBatch, on_manifold

DATA = load_fonts(48, 0, split="train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Glyphs as a `.npz`, of which no latents are known, and a manifold that was learned from them."""
    place = tmp_path_factory.mktemp("learned")
    np.savez(place / "glyphs.npz", images=DATA.pixels, labels=DATA.labels)
    for name, seed in (("manifold", 0), ("other", 1)):
        fit_manifold(DATA, DATA, place / f"{name}.safetensors", Fit(epochs=1, width=8, latent=4, seed=seed))
    return place


def test_examples_are_decoded_from_latents_within_eta_and_half_the_batch_stays_clean(folder: Path) -> None:
    manifold = load_learned(folder / "manifold.safetensors")
    images, labels = torch.from_numpy(DATA.pixels[:8]), torch.from_numpy(DATA.labels[:8])
    seen: list[torch.Tensor] = []
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    moved: list[torch.Tensor] = []
    decode = manifold.decode

    class Watched:
        latent_bounds = manifold.latent_bounds
        encode = staticmethod(manifold.encode)

        @staticmethod
        def decode(latents: torch.Tensor, points: Points) -> torch.Tensor:
            moved.append(latents.detach())
            return decode(latents, points)

    batch = TrainingBatch(images, labels, manifold=Watched())  # type: ignore[arg-type]
    loss = on_manifold(network, batch, AttackBudget(eta=0.2, steps=3), torch.Generator().manual_seed(0))
    assert loss.isfinite()
    last = seen[-1]
    assert torch.equal(last[:4], images[:4])
    points = Points(images[4:], labels[4:])
    centre = manifold.encode(points)
    assert torch.allclose(last[4:], decode(moved[-1], points), atol=1e-6)
    assert 0.15 < (moved[-1] - centre).abs().max() <= 0.2 + 1e-6
    assert moved[-1].abs().max() <= 2
    clean = nn.functional.cross_entropy(network(decode(centre, points).detach()), labels[4:])
    assert nn.functional.cross_entropy(network(last[4:]), labels[4:]) > clean


def test_a_training_takes_a_learned_manifold_and_goes_on_with_no_other(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes((folder / "manifold.safetensors").read_bytes())
    plan = TrainingPlan(
        "on-manifold", "vgg_maxpool", data=str(folder / "glyphs.npz"), epochs=1, images=48, batch_size=8, steps=1,
        test_images=4, test_steps=1, eps=0.1, width=4, manifold=str(file),
    )  # fmt: skip
    trained = train(plan, tmp_path / "out")
    assert len(trained.log) == 1
    with safe_open(trained.weights, framework="pt") as stored:
        assert "+" in stored.metadata()["data_digest"]
    longer = TrainingPlan(**{name: getattr(plan, name) for name in plan.__slots__} | {"epochs": 2})
    with pytest.raises(InputError, match="holds a training of another plan"):
        train(longer, tmp_path / "out")


def test_another_manifold_under_the_same_name_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes((folder / "manifold.safetensors").read_bytes())
    plan = TrainingPlan(
        "on-manifold", "vgg_maxpool", data=str(folder / "glyphs.npz"), epochs=2, images=48, batch_size=8, steps=1,
        test_images=4, test_steps=1, eps=0.1, width=4, manifold=str(file),
    )  # fmt: skip

    def kill(step: object) -> None:
        if getattr(step, "row", None) is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "out", progress=kill)
    file.write_bytes((folder / "other.safetensors").read_bytes())
    with pytest.raises(InputError, match="other data or another manifold"):
        train(plan, tmp_path / "out")
    file.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        train(plan, tmp_path / "out")


def test_without_any_manifold_the_message_says_how_to_learn_one(folder: Path, tmp_path: Path) -> None:
    plan = TrainingPlan(
        "on-manifold", "vgg_maxpool", data=str(folder / "glyphs.npz"), epochs=1, images=48, batch_size=8, width=4
    )
    with pytest.raises(InputError, match="learn the manifold with `filterlens train manifold`"):
        train(plan, tmp_path)
