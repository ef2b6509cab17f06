"""Synthetic runs: what an audit leaves behind, made in a moment."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from filterlens.catalogs import Entry
from filterlens.scores.table import as_table, write_scores

HOSTILE = [
    '<script>alert("x")</script>',
    "=HYPERLINK(\"http://evil\")",
    r"back\slash_100% & $math$ #1 {x} ~^",
    "two\nlines\tand tab",
    "quote\" ' `tick` [link](javascript:alert(1))",
    "n" * 300,
    "模型-é-🙂",
    "]]></style></title><img src=x onerror=alert(1)>",
]


@dataclass(frozen=True, slots=True)
class Model:
    """One row of the synthetic catalog."""

    model_id: str
    dataset: str = "cifar10"
    architecture: str = "ResNet-20"
    robust: bool | None = False
    match: str = ""
    clean_acc: float | None = None
    robust_acc: float | None = None
    paper: str = ""


def zoo(n_robust: int, *, datasets: tuple[str, ...] = ("cifar10",), shared: int = 2) -> list[Model]:
    """`n_robust` robust models, `shared` of which have one normal partner in common."""
    models: list[Model] = []
    for i in range(n_robust):
        dataset = datasets[i % len(datasets)]
        architecture = ("ResNet-20", "WRN-28-10", "PreActResNet-18")[(i // 2) % 3]
        normal = f"{dataset}-normal-{i // (shared * len(datasets))}"
        if all(model.model_id != normal for model in models):
            models.append(Model(normal, dataset, architecture, False, clean_acc=94.0, robust_acc=0.0))
        models.append(Model(f"{dataset}-robust-{i}", dataset, architecture, True, normal, 85.0 + i % 7, 40.0 + i % 13))
    return models


def score_rows(models: list[Model], n_layers: int, seed: int = 0) -> list[dict[str, object]]:
    """Layer scores in which robust models are less sparse, more diverse and alias less."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for model in models:
        shift = 0.15 if model.robust else 0.0
        for depth in range(n_layers):
            norm = depth / max(1, n_layers - 1)
            place = {"layer": f"layer{depth}.conv", "conv_depth": depth, "conv_depth_norm": norm}
            values = {
                "sparsity": 0.3 - shift + 0.1 * norm,
                "variance_entropy": 0.7 + shift,
                "variance_entropy_raw": 0.6 + shift,
                "orthogonality": 0.8 + shift / 2,
            }
            for metric, value in values.items():
                noisy = float(np.clip(value + rng.normal(0, 0.03), 0, 1))
                weight = float(rng.integers(1, 5))
                rows.append({"model_id": model.model_id, "lens": "filters", "metric": metric, "value": noisy} | place | {"weight": weight})  # fmt: skip
        for k in range(3):
            kind = "main" if k < 2 else "shortcut"
            for metric in ("aliasing", "aliasing_relative", "alias_energy"):
                value = float(np.exp(rng.normal(-2 - 4 * shift, 0.1)))
                rows.append(
                    {"model_id": model.model_id, "lens": "downsampling", "metric": metric, "layer": f"down{k}"}
                    | {"kind": kind, "value": value, "weight": 0.0 if kind == "shortcut" else 1.0}
                )
    return rows


def write_run(
    folder: Path,
    models: list[Model],
    rows: list[dict[str, object]],
    ledger: list[dict[str, object]] | None = None,
) -> Path:
    """Write catalog, scores and ledger as an audit leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["model_id", "source", "dataset", "threat_model", "eps", "architecture", "robust", "match", "clean_acc", "robust_acc", "paper"]  # fmt: skip
    with (folder / "catalog.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, columns)
        out.writeheader()
        for model in models:
            row = {name: getattr(model, name, "") for name in columns}
            row |= {"source": "weights.pt", "threat_model": "Linf", "eps": "8/255"}
            out.writerow({name: "" if value is None else value for name, value in row.items()})
    write_scores(as_table(rows), folder / "scores.parquet")
    if ledger is None:
        ledger = [{"model_id": m.model_id, "lens": "filters", "status": "ok", "seconds": 1.5, "reason": "", "versions": {"torch": "2.4", "filterlens": "0.1.0"}} for m in models]  # fmt: skip
    (folder / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ledger), encoding="utf-8")
    return folder


def entry(model: Model) -> Entry:
    """The model's catalog entry."""
    return Entry(model_id=model.model_id, source="weights.pt", dataset=model.dataset, robust=model.robust, match=model.match)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a run's folder: `make_run(n_robust=8, n_layers=12, …)`."""

    def make(
        n_robust: int = 8, n_layers: int = 12, *, datasets: tuple[str, ...] = ("cifar10", "cifar100"), shared: int = 2
    ) -> Path:
        models = zoo(n_robust, datasets=datasets, shared=shared)
        return write_run(tmp_path / "run", models, score_rows(models, n_layers))

    return make
