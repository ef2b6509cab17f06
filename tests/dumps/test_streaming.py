"""Arrays filled batch by batch are kept in half precision as long as it holds them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from filterlens.dumps import DumpWriter, FloatStream


def streamed(path: Path, *batches: NDArray[np.float32]) -> tuple[NDArray[np.floating], dict[str, object]]:
    """Write batches one after another; returns the array as the file holds it, and its attributes."""
    n = sum(map(len, batches))
    with DumpWriter(path, {"model_id": "a"}) as dump:
        stream = FloatStream(dump.lens("some", {}), "maps", (n, *batches[0].shape[1:]), kind="pool")
        done = 0
        for batch in batches:
            stream.write(slice(done, done + len(batch)), batch)
            done += len(batch)
        assert stream.written == n
    with h5py.File(path) as file:
        dataset = file["some/maps"]
        return dataset[()], dict(dataset.attrs)


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(0.0, "float16"), (1e-4, "float32"), (1.0, "float16"), (65504.0, "float16"), (1e5, "float32")],
)
def test_the_type_is_the_narrowest_that_holds_the_values(tmp_path: Path, largest: float, dtype: str) -> None:
    values = np.array([[largest, 0.0]], dtype=np.float32)
    found, _ = streamed(tmp_path / "a.h5", values)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, values, rtol=1e-3)


def test_a_later_batch_widens_what_is_already_written(tmp_path: Path) -> None:
    batches = [np.full((2, 3), value, dtype=np.float32) for value in (0.25, 1e6, 0.1)]
    found, attributes = streamed(tmp_path / "a.h5", *batches)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.concatenate(batches))
    assert (attributes["kind"], attributes["order"]) == ("pool", 0)
