"""The data set as models: what its tables say is checked before a number is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from filterlens.errors import CheckpointError
from filterlens.filterdb.database import FilterDatabase
from filterlens.filterdb.frames import write_frame


def rewrite(path: Path, meta: pd.DataFrame, filters: np.ndarray | None = None, name: str = "filters") -> None:
    """Put another table, and other filters, into the data set."""
    with h5py.File(path, "a") as file:
        del file["meta"]
        write_frame(file, "meta", meta)
        if filters is not None:
            del file["filters"]
            file[name] = filters


def test_models_and_layers_are_those_of_the_file(published: Path, filters: np.ndarray) -> None:
    with FilterDatabase(published) as database:
        robust, normal, unknown = database.models
        assert [model.name for model in database.models] == [
            "Wang2020_cifar10_linf_13",
            "hso_Wang2020_normal_13",
            "Überzeugt_cifar100_13",
        ]
        assert [layer.layer_id for layer in robust.layers] == [3, 5, 9, 1]  # by depth, then by number
        assert [layer.conv_depth_norm for layer in robust.layers] == [0.0, 0.5, 0.5, 1.0]
        assert robust.facts["Robust"] is True
        assert normal.facts["Robust"] is False
        assert "Robust" not in unknown.facts
        assert database.n_filters == 159
        second = robust.layers[1]
        assert (second.start, second.stop) == (36, 60)  # behind layer 9, whose row comes first
        weight = database.weight(second)
    assert weight.shape == (6, 4, 3, 3)
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight.reshape(-1, 3, 3), filters[36:60])


@pytest.mark.parametrize("shape", [(-1, 3, 3), (-1, 9)])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("name", ["filters", "filter"])
def test_every_published_kind_of_array_is_read(
    published: Path, meta: pd.DataFrame, filters: np.ndarray, shape: tuple[int, ...], dtype: str, name: str
) -> None:
    stored = filters.astype(dtype)
    rewrite(published, meta, stored.reshape(shape), name)
    with FilterDatabase(published) as database:
        weight = database.weight(database.models[0].layers[0])
    np.testing.assert_array_equal(weight.reshape(-1, 3, 3), stored[:12].astype(np.float32))


def test_three_levels_of_index_are_enough(published: Path, meta: pd.DataFrame) -> None:
    rewrite(published, meta.droplevel("layer_id"))
    with FilterDatabase(published) as database:
        assert [layer.layer_id for layer in database.models[0].layers] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["range", "list", "tuple"])
def test_filter_ids_may_be_ranges_or_lists(published: Path, meta: pd.DataFrame, kind: str) -> None:
    def converted(text: str) -> object:
        first, last = map(int, text.split(":"))
        ids = range(first, last + 1)
        return ids if kind == "range" else {"list": list, "tuple": tuple}[kind](ids)

    with FilterDatabase(published) as database:
        expected = database.models
    rewrite(
        published, meta.assign(filter_ids=pd.Series([converted(i) for i in meta["filter_ids"]], meta.index, object))
    )
    with FilterDatabase(published) as database:
        assert [model.layers for model in database.models] == [model.layers for model in expected]


def test_columns_of_operations_may_be_absent(published: Path, meta: pd.DataFrame) -> None:
    rewrite(published, meta[["in_channels", "out_channels", "filter_ids", "model"]])
    with FilterDatabase(published) as database:
        assert database.models[0].facts == {}


def test_two_models_of_one_name_are_told_apart(published: Path, meta: pd.DataFrame) -> None:
    rewrite(published, meta.assign(model="same"))
    with FilterDatabase(published) as database:
        assert [model.name for model in database.models] == ["same-0", "same-1", "same-2"]


def test_a_single_depth_that_was_divided_by_zero_has_no_relative_depth(published: Path, meta: pd.DataFrame) -> None:
    index = meta.index.to_frame()
    index.loc[index["model_id"] == 2, "conv_depth_norm"] = np.inf
    rewrite(published, meta.set_index(pd.MultiIndex.from_frame(index)))
    with FilterDatabase(published) as database:
        assert math.isnan(database.models[2].layers[0].conv_depth_norm)


def other_ids(ids: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(meta: pd.DataFrame) -> pd.DataFrame:
        values = [ids, *meta["filter_ids"][1:]]
        return meta.assign(filter_ids=pd.Series(values, meta.index, object))

    return change


def restarted(meta: pd.DataFrame) -> pd.DataFrame:
    """Let ids begin anew with every model, as chunks that were put together do."""
    starts = {model: int(part.iloc[0].split(":")[0]) for model, part in meta["filter_ids"].groupby("model_id")}
    ids = []
    for model, text in zip(meta.index.get_level_values("model_id"), meta["filter_ids"], strict=True):
        first, last = map(int, text.split(":"))
        ids.append(f"{first - starts[model]}:{last - starts[model]}")
    return meta.assign(filter_ids=pd.Series(ids, meta.index, object))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (restarted, r"rows 0 and 4 claim the same filters \(from 0\): the file was put together from"),
        (other_ids("0:12"), "has 3 x 4 channels, but 13 filters"),
        (other_ids("0:10"), "has 3 x 4 channels, but 11 filters"),
        (other_ids("149:160"), "ends at filter 160, but the file holds 159"),
        (other_ids("5:2"), "filter_ids '5:2'; they are first:last, the last included"),
        (other_ids("-1:10"), "filter_ids '-1:10'"),
        (other_ids("one:two"), "filter_ids 'one:two'"),
        (lambda meta: meta.assign(in_channels=0), "channels, but"),
        (lambda meta: meta.assign(in_channels=1.5), "in_channels 1.5, which is no whole number"),
        (lambda meta: meta.drop(columns="model"), ":/meta has no 'model'"),
        (lambda meta: meta.rename_axis(["model", "conv_depth", "conv_depth_norm", "layer_id"]), "has no 'model_id'"),
        (lambda meta: meta.iloc[:0], "lists no convolution|is damaged"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(
    published: Path, meta: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    rewrite(published, change(meta))
    with pytest.raises(CheckpointError, match=said) as caught:
        FilterDatabase(published)
    assert type(caught.value) is CheckpointError


def test_files_that_are_no_data_set_are_refused(tmp_path: Path, published: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*none\.h5"):
        FilterDatabase(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(CheckpointError, match="cannot be read as HDF5"):
        FilterDatabase(tmp_path / "text.h5")
    (tmp_path / "dataset.h5.xz").write_bytes(b"\xfd7zXZ\x00")
    with pytest.raises(CheckpointError, match="is compressed: unpack it first"):
        FilterDatabase(tmp_path / "dataset.h5.xz")
    published.write_bytes(published.read_bytes()[:50_000])
    with pytest.raises(CheckpointError, match="cannot be read as HDF5"):
        FilterDatabase(published)


@pytest.mark.parametrize(
    "stored", [np.zeros((159, 3, 3), dtype=int), np.zeros((159, 5, 5)), np.zeros(159), np.zeros((159, 3, 3), complex)]
)
def test_arrays_that_are_no_filters_are_refused(published: Path, meta: pd.DataFrame, stored: np.ndarray) -> None:
    rewrite(published, meta, stored)
    with pytest.raises(
        CheckpointError, match=r"filters are floating-point numbers, one 3x3 filter a row|dumps hold plain numbers only"
    ):
        FilterDatabase(published)


def test_filters_in_another_file_are_not_followed(published: Path, tmp_path: Path) -> None:
    with h5py.File(published, "a") as file:
        del file["filters"]
        file["filters"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/filters")
    with pytest.raises(CheckpointError, match="/filters is a link, which dumps never hold; it is not followed"):
        FilterDatabase(published)
