"""Attacks are as strong as those of other packages at equal steps; `benchmarks/attacks.py` measures more networks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import torchattacks

from filterlens.attacks import pgd
from filterlens.catalogs import load_catalog
from filterlens.inputs import load_images
from filterlens.loaders import load_model

TABLE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "attacks.csv"
STEPS = 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "norm", "eps"),
    [
        ("preact_resnet-pgd-s0", "Linf", 0.2),
        ("preact_resnet-normal-s0", "Linf", 0.02),
        ("vgg_maxpool-pgd-s0", "L2", 1.5),
    ],
)
def test_pgd_is_as_strong_as_torchattacks(name, norm, eps):
    catalog, images = load_catalog("fonts-linf"), load_images("fonts", 64)
    model = load_model(catalog[name], catalog.folder).require_classifier("robustness").eval()
    pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    ours = (~pgd(model, pixels, labels, eps=eps, step=eps / 4, steps=STEPS, norm=norm).success).double().mean()
    peer = torchattacks.PGD if norm == "Linf" else torchattacks.PGDL2
    torch.manual_seed(0)
    moved = peer(model, eps=eps, alpha=eps / 4, steps=STEPS)(pixels, labels)
    with torch.no_grad():
        theirs = (model(moved).argmax(dim=1) == labels).double().mean()
    assert 0.05 < ours < 0.98
    assert ours <= theirs + 0.005


def test_the_committed_comparison_has_no_weaker_attack_than_torchattacks():
    table = pd.read_csv(TABLE)
    assert (table["pgd"] <= table["torchattacks"] + 0.5).all()
    joint = table[table["joint"].notna()]
    assert (joint["joint"] == joint["pgd"]).all()  # at ξ = 0 the joint attack's estimate is PGD's
