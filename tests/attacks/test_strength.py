"""How strong attacks are beside other packages' at equal steps; `benchmarks/attacks.py` measures more networks."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
import torchattacks
from scripts import load_script

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


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return load_script("benchmarks/attacks_table.py")


@pytest.fixture(scope="module")
def strength(tables: ModuleType) -> pd.DataFrame:
    return pd.read_csv(tables.CSV)


def test_the_pages_tables_are_those_of_the_committed_comparison(tables: ModuleType, strength: pd.DataFrame) -> None:
    page = (DOCS / "lenses" / "robustness.md").read_text(encoding="utf-8")
    assert strength["model_id"].nunique() == 24
    assert tables.accuracies(strength) in page, "run `python benchmarks/attacks_table.py`"
    assert tables.weaker(strength) in page


def test_what_the_page_says_of_each_attack_is_so(tables: ModuleType, strength: pd.DataFrame) -> None:
    page = " ".join((DOCS / "lenses" / "robustness.md").read_text(encoding="utf-8").split())
    assert (strength.loc[strength["norm"].eq("Linf"), ["joint", "pgd"]].diff(axis=1)["pgd"] == 0).all()
    for norm in tables.NORMS:
        for peer in tables.PEERS:
            assert tables.gap(strength, "apgd", peer, norm).mean() <= tables.MARGIN
        assert abs(tables.gap(strength, "apgd", "autoattack_apgd", norm).mean()) <= tables.MARGIN
        assert tables.gap(strength, "apgd", "foolbox", norm).max() <= tables.MARGIN
        assert tables.gap(strength, "pgd", "torchattacks", norm).mean() <= tables.MARGIN
        assert tables.gap(strength, "pgd", "foolbox", norm).mean() <= tables.MARGIN
        assert round(tables.gap(strength, "pgd", "autoattack_apgd", norm).mean()) == 1
    apgd = strength["apgd"] - strength["autoattack_apgd"]
    assert f"up to {apgd.max():.0f} points weaker and up to {-apgd.min():.0f} points stronger than AutoAttack's" in page
    linf, l2 = (tables.gap(strength, "pgd", "autoattack_apgd", norm).max() for norm in ("Linf", "L2"))
    assert f"by up to {linf:.0f} in L∞ and {l2:.0f} in L2" in page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # foolbox imports old names of SciPy
@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_comparison_comes_out_as_committed(name: str, norm: str, strength: pd.DataFrame) -> None:
    """`benchmarks/attacks.py` on three of its networks; an image or two of a hundred may fall otherwise elsewhere."""
    measured = load_script("benchmarks/attacks.py")
    catalog, images = load_catalog("fonts-linf"), load_images("fonts", 100)
    classifier = load_model(catalog[name], catalog.folder).require_classifier("robustness").eval()
    found = measured.compare(classifier, images, measured.ball_of(catalog[name], norm))
    row = strength[strength["model_id"].eq(name) & strength["norm"].eq(norm)].iloc[0]
    assert found == pytest.approx({attack: row[attack] for attack in found}, abs=2)
