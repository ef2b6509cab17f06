"""The filters lens: sparsity, diversity and orthogonality of convolution filters (Gavrikov & Keuper 2022)."""

from __future__ import annotations

from filterlens.lens import Lens
from filterlens.lenses.filters.options import FiltersOptions

__all__ = ["LENS"]

LENS = Lens(
    name="filters",
    title="Filters",
    summary="Sparsity, diversity and orthogonality of convolution filters.",
    options=FiltersOptions,
    extract="filterlens.lenses.filters.extractor:extract",
    analyze="filterlens.lenses.filters.analyzer:analyze",
    analyze_together="filterlens.lenses.filters.analyzer:analyze_together",
    scores=(
        "filterlens.lenses.filters.sparsity",
        "filterlens.lenses.filters.variance_entropy",
        "filterlens.lenses.filters.orthogonality",
        "filterlens.lenses.filters.z_scores",
    ),
    keep="filterlens.lenses.filters.kept:keep",
    pool="filterlens.lenses.filters.distribution:pool",
    figures="filterlens.lenses.filters.figures:FIGURES",
    tables="filterlens.lenses.filters.tables:TABLES",
    measure="filterlens.lenses.filters.measure:measure",
    attack_free=True,
    per_kernel=True,
    preload=(
        "filterlens.lenses.filters.analyzer",
        "filterlens.lenses.filters.distribution",
        "filterlens.lenses.filters.machine_code",
    ),
    rank=10,
)
