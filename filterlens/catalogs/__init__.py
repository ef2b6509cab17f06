"""Which models there are and which belong together: catalogs read, validated and paired; a training as a catalog."""

from __future__ import annotations

from filterlens.catalogs.catalog import (
    Catalog,
    Pair,
    catalog_names,
    load_catalog,
    read_catalog,
    shipped_folder,
)
from filterlens.catalogs.duplicates import Distinct, distinct_models
from filterlens.catalogs.entry import Entry

__all__ = [
    "Catalog",
    "Distinct",
    "Entry",
    "Pair",
    "catalog_names",
    "distinct_models",
    "load_catalog",
    "read_catalog",
    "shipped_folder",
]
