"""How strong attacks are beside other packages' at equal steps; `benchmarks/attacks.py` measures more networks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import torchattacks

from filterlens.attacks import Norm, cross_entropy, pgd
from filterlens.catalogs import load_catalog
from filterlens.inputs import load_images
from filterlens.loaders import load_model

DOCS = Path(__file__).resolve().parents[2] / "docs"
NETWORKS = ("preact_resnet-pgd-s0", "vgg_maxpool-pgd-s1", "wide_resnet_avgpool-pgd-s0")


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.2), ("L2", 1.5)])
def test_pgd_is_as_strong_as_torchattacks_on_trained_networks(norm: Norm, eps: float) -> None:
    """Over networks, because one random start is luck: a point or two of a hundred images either way."""
    catalog, images = load_catalog("fonts-linf"), load_images("fonts", 64)
    pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    peer = torchattacks.PGD if norm == "Linf" else torchattacks.PGDL2
    ours, theirs, losses, peers_losses = [], [], [], []
    for name in NETWORKS:
        model = load_model(catalog[name], catalog.folder).require_classifier("robustness").eval()
        found = pgd(model, pixels, labels, eps=eps, step=eps / 4, steps=20, norm=norm)
        torch.manual_seed(0)
        moved = peer(model, eps=eps, alpha=eps / 4, steps=20)(pixels, labels)
        with torch.no_grad():
            logits = model(moved)
        theirs.append((logits.argmax(dim=1) == labels).double().mean().item())
        ours.append((~found.success).double().mean().item())
        losses.append(found.losses.mean().item())
        peers_losses.append(cross_entropy(logits, labels).mean().item())
    assert 0.2 < sum(ours) / 3 < 0.9
    assert sum(ours) / 3 <= sum(theirs) / 3 + 0.02
    assert sum(losses) >= 0.98 * sum(peers_losses)


def test_the_pages_table_is_that_of_the_committed_comparison() -> None:
    table = pd.read_csv(DOCS / "evidence" / "attacks.csv")
    page = (DOCS / "lenses" / "robustness.md").read_text(encoding="utf-8")
    assert table["model_id"].nunique() == 24
    for norm, label in (("Linf", "L∞"), ("L2", "L2")):
        for robust, title in ((True, "robust"), (False, "other, ε / 10")):
            part = table[table["norm"].eq(norm) & (table["robust"].astype(str) == "True").eq(robust)]
            means = [part[name].mean() for name in ("pgd", "joint", "torchattacks", "apgd")]
            weaker = [(part["pgd"] - part[name]).max() for name in ("torchattacks", "apgd")]
            cells = [str(len(part)), *("–" if pd.isna(x) else f"{x:.1f}" for x in means), *(f"{x:.0f}" for x in weaker)]
            assert f"| {label}, {title} | {' | '.join(cells)} |" in page


def test_the_joint_attack_is_pgd_where_weights_cannot_move() -> None:
    table = pd.read_csv(DOCS / "evidence" / "attacks.csv")
    linf = table[table["norm"].eq("Linf")]
    assert (linf["joint"] == linf["pgd"]).all()
    assert abs((table["pgd"] - table["torchattacks"]).mean()) <= 0.5
