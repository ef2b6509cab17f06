"""The paper's numbers on runs whose numbers are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from filterlens.catalogs import Catalog, Entry
from filterlens.cli.app import app
from filterlens.errors import ReportError
from filterlens.runs import analyze, extract
from filterlens.studies.filters import PUBLISHED, filter_numbers

SHARES = {"r0": 0.25, "r1": 0.5, "r2": 0.0, "n0": 0.75, "n1": 0.5, "unknown": 1 / 16}
ACCURACY = {"r0": 50.0, "r1": 40.0, "r2": 60.0, "n0": 0.0, "n1": 0.0, "unknown": None}


def weights(name: str) -> torch.Tensor:
    """Make 64 filters (the first model four times as many), a share of them sparse; normal ones lean their own way."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    weight = torch.randn(16, 4 if name != "r0" else 16, 3, 3, generator=generator)
    if name.startswith("n"):
        weight[:, :, 1, int(name[1])] += 3
    weight[: round(16 * SHARES[name])] *= 1e-5
    return weight


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    entries = []
    for name, accuracy in ACCURACY.items():
        torch.save({"conv.weight": weights(name)}, tmp_path / f"{name}.pt")
        entries.append(
            Entry(
                model_id=name,
                source=f"{name}.pt",
                dataset="cifar10",
                robust=None if name == "unknown" else name.startswith("r"),
                match={"r0": "n0", "r1": "n0", "r2": "n1"}.get(name, ""),
                robust_acc=accuracy,
                clean_acc=accuracy and 100 - accuracy,
            )
        )
    run = tmp_path / "run"
    extract(Catalog("zoo", tuple(entries), tmp_path), run)
    analyze(run)
    return run


def value(folder: Path, quantity: str, models: str) -> tuple[Any, ...]:
    numbers = filter_numbers(folder).set_index(["quantity", "models"])
    row: Any = numbers.loc[(quantity, models), :]
    return float(row["value"]), int(row["n"]), float(row["published"])


def test_shares_of_sparse_filters_are_means_over_models_and_over_filters(folder: Path) -> None:
    mean, together = "sparse filters, mean over models", "sparse filters, of all filters"
    assert value(folder, mean, "normal") == (0.625, 2, 0.3948042)
    robust = [SHARES[name] for name in ("r0", "r1", "r2")]
    assert value(folder, mean, "robust, as annotated")[:2] == (pytest.approx(np.mean(robust)), 3)
    # nobody says whether `unknown` is robust: the authors' code takes it for robust
    assert value(folder, mean, "robust") == (pytest.approx(np.mean([*robust, SHARES["unknown"]])), 4, 0.0944751)
    assert value(folder, together, "robust, as annotated")[0] == pytest.approx((256 * 0.25 + 64 * 0.5) / 384)


def test_rank_correlations_are_of_robust_models(folder: Path) -> None:
    assert value(folder, "Spearman, sparsity and robust_acc", "robust") == (pytest.approx(-1), 3, -0.274286)
    assert value(folder, "Spearman, clean_acc and robust_acc", "robust")[0] == pytest.approx(-1)
    assert math.isnan(value(folder, "Spearman, clean_acc and robust_acc", "robust")[2])


def scaled(name: str, *, sparse: bool = False) -> torch.Tensor:
    rows = weights(name).flatten(2).flatten(0, 1)
    maxima = rows.abs().amax(dim=1)
    kept = maxima > 0 if sparse else maxima > maxima.max() / 100
    return rows[kept] / maxima[kept, None]


def test_the_shift_is_the_authors_own(folder: Path) -> None:
    """Against a slow copy of their formula: one basis and one range for all, a normal model once a pair."""
    every = torch.cat([scaled(name) for name in SHARES]).double().numpy()
    centre = every.mean(axis=0)
    _, singular, basis = np.linalg.svd(every - centre, full_matrices=False)
    basis *= np.sign(basis[np.arange(9), np.abs(basis).argmax(axis=1)])[:, None]  # bins are mirrored otherwise
    ratio = singular**2 / (singular**2).sum()
    whole = np.concatenate([(scaled(n, sparse=True).double().numpy() - centre) @ basis.T for n in SHARES])
    span = (whole.min(), whole.max())
    taking = (("r0", "r1", "r2"), ("n0", "n0", "n1"))
    sides = [torch.cat([scaled(name) for name in names]).double().numpy() for names in taking]
    expected = 0.0
    for i in range(9):
        p, q = (np.histogram((side - centre) @ basis[i], bins=70, range=span, density=True)[0] for side in sides)
        p, q = (np.where(h == 0, np.finfo(np.float32).eps, h) for h in (p, q))
        p, q = p / p.sum(), q / q.sum()
        expected += ratio[i] * ((p - q) * np.log(p / q)).sum()
    found, n, published = value(folder, "shift", "pairs")
    assert found == pytest.approx(expected, rel=0.01)  # a coefficient on the edge of a bin may fall to either side
    assert (n, published) == (3, 0.62169)


def test_published_numbers_are_those_of_three_data_sets() -> None:
    assert {dataset for _, dataset, _ in PUBLISHED} == {"", "cifar10", "cifar100", "imagenet"}


def test_the_command_shows_numbers_beside_published_ones(folder: Path) -> None:
    result = CliRunner().invoke(app, ["study", "filters", str(folder)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "0.0945" in result.output
    assert "numbers.csv" in result.output
    assert (folder / "numbers.csv").read_text("utf-8").startswith("quantity,dataset,models,value,n,published\n")


def test_a_run_without_filters_is_refused(folder: Path) -> None:
    (folder / "scores.parquet").unlink()
    with pytest.raises(ReportError, match="analy"):
        filter_numbers(folder)
