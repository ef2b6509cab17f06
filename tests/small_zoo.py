"""A zoo of tiny checkpoints on disk: two matched pairs, made in a moment."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

FIELDS = (
    "model_id",
    "source",
    "dataset",
    "threat_model",
    "eps",
    "architecture",
    "robust",
    "match",
    "clean_acc",
    "robust_acc",
)


def weights(seed: int, width: int = 8) -> dict[str, torch.Tensor]:
    """Weights of a three-layer network, a few filters of which are zero."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        "stem.weight": torch.randn(width, 3, 3, 3, generator=generator),
        "block.conv.weight": torch.randn(width, width, 3, 3, generator=generator),
        "block.norm.weight": torch.rand(width, generator=generator) + 0.5,
        "head.weight": torch.randn(10, width, generator=generator),
    }
    state["block.conv.weight"][: 1 + seed % 3] *= 1e-4
    return state


def make_zoo(folder: Path, *, pairs: int = 2) -> Path:
    """Write checkpoints and a catalog; return the catalog's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for pair in range(pairs):
        for robust in (True, False):
            name = f"net{pair}-{'robust' if robust else 'normal'}"
            torch.save({"state_dict": weights(2 * pair + robust)}, folder / f"{name}.pt")
            match = f"net{pair}-normal" if robust else ""
            rows.append(
                (
                    name,
                    f"{name}.pt",
                    "cifar10",
                    "Linf",
                    "8/255",
                    "tiny",
                    str(robust).lower(),
                    match,
                    90 - pair / 10,
                    50 - pair / 10 if robust else "",
                )
            )
    return write_catalog(folder / "zoo.csv", rows)


def write_catalog(path: Path, rows: Sequence[tuple[object, ...]]) -> Path:
    """Write rows of `FIELDS` as a catalog."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    return path


def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Watch which models' filters are scored."""
    from filterlens.lenses.filters import analyzer

    seen: list[str] = []
    whole = analyzer.analyze

    def watched(group: Any) -> Any:
        seen.append(group.path.stem)
        return whole(group)

    monkeypatch.setattr(analyzer, "analyze", watched)
    return seen
