"""Synthetic runs: what an audit leaves behind, made in a moment."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from filterlens.catalogs import Entry
from filterlens.dumps import DumpWriter, WritableGroup
from filterlens.lens import all_scores
from filterlens.score import as_table, write_scores

HOSTILE = [
    '<script>alert("x")</script>',
    '=HYPERLINK("http://evil")',
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
                facts = {"model_id": model.model_id, "lens": "filters", "metric": metric}
                rows.append(facts | place | {"value": noisy, "weight": weight})
        for k in range(3):
            kind = "main" if k < 2 else "shortcut"
            for metric in ("aliasing", "aliasing_relative", "alias_energy"):
                value = float(np.exp(rng.normal(-2 - 4 * shift, 0.1)))
                rows.append(
                    {"model_id": model.model_id, "lens": "downsampling", "metric": metric, "layer": f"down{k}"}
                    | {"kind": kind, "value": value, "weight": 0.0 if kind == "shortcut" else 1.0}
                )
    return rows


def large_zoo(n: int) -> list[Model]:
    """`n` models on three data sets and of twelve architectures, two robust ones to each normal one."""
    architectures: tuple[str, ...] = (
        "ResNet-18",
        "ResNet-50",
        "WRN-28-10",
        "WRN-34-10",
        "WRN-70-16",
        "PreActResNet-18",
    )
    architectures += (
        "ConvNeXt-T",
        "ConvNeXt-B",
        "ViT-S + ConvStem",
        "RaWRN-70-16",
        "XCiT-S12",
        "MeanSparse-RaWRN-70-16",
    )
    authors = ("Carmon", "Wong", "Rice", "Gowal", "Rebuffi", "Debenedetti", "Singh", "Bartoldson", "Amini")
    rng = np.random.default_rng(n)
    models: list[Model] = []
    normal = ""
    for i in range(n):
        dataset = ("cifar10", "cifar100", "imagenet")[(i // 3) % 3]
        architecture = architectures[(i // 9) % len(architectures)]
        if i % 3 == 0:
            normal = f"Standard_{dataset}_{architecture}_{i}".replace(" ", "")
            models.append(Model(normal, dataset, architecture, False, "", float(rng.uniform(90, 96)), 0.0))
        else:
            name = f"{authors[i % len(authors)]}2023Decoupling_{architecture.replace(' ', '')}_{i}"
            accuracies = float(rng.uniform(82, 93)), float(rng.uniform(40, 71))
            models.append(Model(name, dataset, architecture, True, normal, *accuracies, paper=f"Paper number {i}"))
    return models


def every_score(models: list[Model], n_layers: int, *, seed: int = 0) -> list[dict[str, object]]:
    """Made-up values of every score of every lens: of each layer where it is shown by depth, else of the model.

    A value of a model has the ends of its interval beside it, where the lens gives them.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    known = all_scores()
    for score in known.values():
        if score.auxiliary:
            continue
        low, high = score.bounds
        width = 1.0 if low is None or high is None else high - low
        layers = n_layers if score.by_depth or score.weight else 1
        for model in models:
            centre = 0.6 if model.robust else 0.4
            values = (low or 0.0) + width * np.clip(rng.normal(centre, 0.1, layers), 0.01, 0.99)
            for depth, value in enumerate(values):
                place: dict[str, object] = {}
                if layers > 1:
                    norm = depth / (layers - 1)
                    place = {
                        "layer": f"layer{depth}.conv",
                        "kind": "main",
                        "conv_depth": depth,
                        "conv_depth_norm": norm,
                    }
                facts = {"model_id": model.model_id, "lens": score.lens, "metric": score.name, "weight": 1.0}
                rows.append(facts | place | {"value": float(value)})
                for end, sign in (("low", -1), ("high", 1)):
                    if layers == 1 and f"{score.name}_{end}" in known:
                        shifted = float(value) + 0.05 * sign * width
                        rows.append(facts | {"metric": f"{score.name}_{end}", "value": shifted})
    return rows


def write_run(
    folder: Path,
    models: list[Model],
    rows: list[dict[str, object]],
    ledger: list[dict[str, object]] | None = None,
) -> Path:
    """Write catalog, scores and ledger as an audit leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [*Model.__dataclass_fields__, "source", "threat_model", "eps"]
    with (folder / "catalog.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, columns)
        out.writeheader()
        for model in models:
            row = {name: getattr(model, name, "") for name in columns}
            row |= {"source": "weights.pt", "threat_model": "Linf", "eps": "8/255"}
            out.writerow({name: "" if value is None else value for name, value in row.items()})
    write_scores(as_table(rows), folder / "scores.parquet")
    if ledger is None:
        done = {"lens": "filters", "status": "ok", "seconds": 1.5, "reason": "", "versions": {"torch": "2.4"}}
        ledger = [{"model_id": model.model_id, **done} for model in models]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ledger), encoding="utf-8")
    return folder


def write_dumps(folder: Path, models: list[Model], *, seed: int = 0, every_lens: bool = False) -> None:
    """Write a small dump of each model: a first, a middle and a last convolution, and a first stage under attack.

    With `every_lens` also what the figures of confidence, frequencies, flatness and the manifold are drawn from.
    """
    rng = np.random.default_rng(seed)
    shapes = [(16, 3, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3)]
    for model in models:
        with DumpWriter(folder / "dumps" / f"{entry(model).file_stem}.h5", {"model_id": model.model_id}) as dump:
            group = dump.lens("filters", {})
            for depth, shape in enumerate(shapes):
                weight = rng.normal(size=shape).astype(np.float32)
                if model.robust:
                    weight = ((weight + np.roll(weight, 1, -1)) / 2).astype(np.float32)
                attributes: dict[str, Any] = {"conv_depth": depth, "conv_depth_norm": depth / 2, "groups": 1}
                group.write(f"layer{depth}.conv", weight, stride=np.array([1, 1]), **attributes)
            kept = dump.lens("robustness", {"steps": 20})
            stage = rng.uniform(size=(4, 16, 32, 32)).astype(np.float32)
            kept.write("first_stage_weight", rng.normal(size=(16, 3, 3, 3)).astype(np.float32))
            kept.write("first_stage_clean", stage)
            kept.write("first_stage_attacked", stage * rng.uniform(0.5, 1.5, size=(1, 16, 1, 1)).astype(np.float32))
            kept.set_attributes(first_stage_layer="conv1", first_stage_operations="conv2d, batch_norm, relu")
            if every_lens:
                _write_under_attack(dump, kept, rng, robust=bool(model.robust))


def _write_under_attack(dump: DumpWriter, robustness: WritableGroup, rng: np.random.Generator, *, robust: bool) -> None:
    """Write logits, predictions under noise, losses around the weights and distances to the manifold of 64 images."""
    n, hit = 64, 0.6 if robust else 0.1
    labels = rng.integers(0, 10, n)
    robustness.write("labels", labels)
    for name, share, scale in (("clean", 0.9, 4.0), ("attacked", hit, 3.0 if robust else 8.0)):
        logits = rng.normal(size=(n, 10))
        told = np.where(rng.random(n) < share, labels, rng.integers(0, 10, n))
        logits[np.arange(n), told] += scale
        robustness.write(f"logits_{name}", logits.astype(np.float32))
    group = dump.lens("perturbation", {})
    edges = 2.0 ** (np.arange(-10, 1) / 2) * 0.7
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    accuracy = np.linspace(0.9, 0.7, 10) if robust else np.linspace(0.5, 0.95, 10)
    right = rng.random((3, 10, n)) < accuracy[:, None]
    group.write("labels", labels)
    group.write("edges", edges)
    group.write("predictions_clean", labels.astype(np.int32))
    group.write("predictions_noise", np.where(right, labels, (labels + 1) % 10).astype(np.int32))
    group.write("image_power", 1 / (0.01 + frequency**2))
    group.write("perturbation_power", 1 / (0.05 + frequency) if robust else 1 + frequency)
    group = dump.lens("flatness", {})
    positions = np.array([-1, -0.5, 0, 0.5, 1], dtype=np.float32)
    group.set_attributes(average_radius=0.5, adversarial_length=0.00075)
    group.write("landscape_positions", positions)
    for name, rise in (("random", 1.0), ("adversarial", 3.0)):
        curve = rise * (1 if robust else 2) * positions**2 * rng.uniform(0.5, 1.5)
        group.write(f"landscape_{name}", (1 + curve[:, None] + np.zeros(n)).astype(np.float32))
    group = dump.lens("manifold", {})
    group.write("labels", labels)
    group.write("correct", rng.random(n) < 0.9)
    group.write("success_attacked", rng.random(n) > hit)
    group.write("distance_held_out", rng.gamma(4, 0.1, n))
    for name, least in (("noise", 0.9), ("attacked", 0.7 if robust else 0.8)):
        norm = rng.uniform(1, 3, n)
        group.write(f"norm_l2_{name}", norm)
        group.write(f"distance_{name}", norm * rng.uniform(least, 1, n))
        group.write(f"angle_{name}", rng.uniform(100 * least - 20, 90, n))


def write_pool(folder: Path, models: list[Model], *, seed: int = 0, K: int = 9) -> None:
    """Write `pooled.h5` in the layout of `filterlens.lenses.filters.distribution`, with made-up numbers."""
    rng = np.random.default_rng(seed)
    datasets = list(dict.fromkeys(model.dataset for model in models))
    groups = []
    for dataset in ["", *datasets]:
        for label, side in (("all" if not dataset else "", None), ("robust", True), ("normal", False)):
            members = [m for m in models if dataset in ("", m.dataset) and side in (None, m.robust)]
            sizes = {"n_models": len(members), "n_filters": 1000 * len(members)}
            groups.append({"label": f"{dataset} {label}".strip(), "dataset": dataset, "robust": side, **sizes})
    G, D, M = len(groups), len(datasets), len(models)
    bases = np.stack([np.linalg.qr(rng.normal(size=(K, K)))[0].T for _ in range(G)])
    ratio = np.sort(rng.dirichlet(np.ones(K), size=G), axis=1)[:, ::-1]
    edges = np.linspace(-3, 3, 701)
    centres = (edges[1:] + edges[:-1]) / 2
    spread = rng.uniform(0.3, 0.9, size=(G, K, 1))
    histograms = np.rint(1000 * np.exp(-((centres / spread) ** 2))).astype(np.int64)
    shift_depths = rng.uniform(0, 1, size=(D, 11))
    shift_depths[0, 0] = np.nan
    models_shift = np.abs(rng.normal(size=(M, M)))
    models_shift = (models_shift + models_shift.T) * (1 - np.eye(M))
    listed = {
        "models": [
            {"model_id": m.model_id, "dataset": m.dataset, "robust": m.robust, "n_filters": 1000} for m in models
        ],
        "groups": groups,
        "datasets": datasets,
        "depths": ["0", *(f"({i / 10:.1f}, {(i + 1) / 10:.1f}]" for i in range(10))],
    }
    with DumpWriter(folder / "pooled.h5", {}) as dump:
        group = dump.lens("filters", {})
        group.set_attributes(kernel="3x3", n_components=K, threshold=0.01, bins=70, fine_bins=700)
        for name, value in listed.items():
            group.write(name, np.frombuffer(json.dumps(value).encode(), dtype=np.uint8))
        arrays = {
            "means": np.zeros((G, K)),
            "bases": bases,
            "explained_variance_ratio": ratio,
            "edges": edges,
            "histograms": histograms,
            "shift_components": np.ones((D, K)),
            "shift_counts": np.full((D, 2), 5000),
            "shift_depth_counts": np.full((D, 11, 2), 500),
            "shift_models": models_shift,
        }
        for name, array in arrays.items():
            group.write(name, array)
        group.write("shift", rng.uniform(0, 1, size=D), paired=json.dumps([True] * D))
        group.write("shift_depths", shift_depths, paired=json.dumps([True] * D))


def entry(model: Model) -> Entry:
    """The model's catalog entry."""
    return Entry(
        model_id=model.model_id, source="weights.pt", dataset=model.dataset, robust=model.robust, match=model.match
    )
