from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from filterlens.filterdb.frames import read_frame


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A data set of three models that pandas 1.5.3 and PyTables wrote by its authors' operations."""
    path = tmp_path / "dataset.h5"
    path.write_bytes(gzip.decompress((Path(__file__).parent / "published.h5.gz").read_bytes()))
    return path


@pytest.fixture
def filters(published: Path) -> np.ndarray:
    with h5py.File(published) as file:
        return np.asarray(file["filters"])


@pytest.fixture
def meta(published: Path) -> pd.DataFrame:
    with h5py.File(published) as file:
        return read_frame(file["meta"], "meta")
