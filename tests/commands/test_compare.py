"""`compare`: what changed most comes first, and what lies outside the noise is marked, for a reason that is said."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_zoo import weights

import filterlens
from filterlens.commands.compare import compare_scores
from filterlens.errors import InputError
from filterlens.score import as_table


def table(values: dict[str, float], *, metric: str = "sparsity", model: str = "m", **means: float) -> pd.DataFrame:
    rows: list[dict[str, object]] = [
        {"model_id": model, "lens": "l", "metric": metric, "layer": layer, "value": value}
        for layer, value in values.items()
    ]
    rows += [{"model_id": model, "lens": "l", "metric": name, "value": value} for name, value in means.items()]
    return as_table(rows)


FIRST = table({f"c{n}": 0.5 for n in range(5)})


def test_means_come_first_and_then_layers_by_the_size_of_their_change() -> None:
    found = compare_scores(FIRST, table({"c0": 0.5, "c1": 0.1, "c2": 0.6, "c4": 0.51, "new": 1.0}))
    assert found["layer"].tolist() == ["", "c1", "c2", "c4", "c0", "c3", "new"]
    assert found["change"].tolist()[1:5] == pytest.approx([0.4, 0.1, 0.01, 0.0])
    assert found["outside"].isna().tolist()[-2:] == [True, True]


def test_a_change_is_a_share_of_the_range_or_of_the_larger_value() -> None:
    found = compare_scores(
        table({"c": 1.0}, metric="spectral_norm", sparsity=0.2), table({"c": 4.0}, metric="spectral_norm", sparsity=0.1)
    ).set_index(["metric", "layer"])["change"]
    assert found["spectral_norm", "c"] == pytest.approx(0.75)
    assert found["sparsity", ""] == pytest.approx(0.1)
    same = compare_scores(table({"c": 0.0}, metric="spectral_norm"), table({"c": 0.0}, metric="spectral_norm"))
    assert same["change"].tolist() == [0.0, 0.0]


def test_a_layer_that_changed_unlike_the_others_is_marked() -> None:
    found = compare_scores(FIRST, table({"c0": 0.51, "c1": 0.49, "c2": 0.52, "c3": 0.51, "c4": 0.6}))
    rows = found.set_index("layer")
    assert rows.loc["c4", "noise"] == pytest.approx(3 * 1.4826 * 0.01)
    assert rows.index[rows["outside"].fillna(value=False)].tolist() == ["c4"]
    assert set(found["noise_from"]) == {"", "layers"}
    assert rows["noise"].isna()[""], "a mean has no layers beside it"
    few = compare_scores(FIRST.head(3), table({"c0": 0.6, "c1": 0.5, "c2": 0.5}))
    assert few["noise"].isna().all(), "three layers say nothing of what is usual"


def test_frozen_layers_let_every_other_change_stand_out() -> None:
    found = compare_scores(FIRST, table({"c0": 0.5, "c1": 0.5, "c2": 0.5, "c3": 0.5, "c4": 0.5001}))
    assert found.set_index("layer")["outside"].fillna(value=False).to_dict()["c4"]


def test_intervals_of_both_sides_say_what_is_noise() -> None:
    one = table({}, clean_accuracy=0.9, clean_accuracy_low=0.87, clean_accuracy_high=0.93)
    for value, outside in ((0.85, True), (0.87, False)):
        other = table({}, clean_accuracy=value, clean_accuracy_low=value - 0.02, clean_accuracy_high=value + 0.02)
        (row,) = compare_scores(one, other).itertuples()
        assert row.noise == pytest.approx(math.hypot(0.03, 0.02))
        assert (row.noise_from, bool(row.outside)) == ("interval", outside)


def test_retrainings_go_before_everything_else() -> None:
    again = [table({f"c{n}": 0.5 + size for n in range(5)}) for size in (0.02, -0.05)]
    found = compare_scores(FIRST, table({"c0": 0.56, "c1": 0.54, "c2": 0.5, "c3": 0.5, "c4": 0.5}), again=again)
    assert found["noise"].to_list() == pytest.approx([0.05] * 6)
    assert set(found["noise_from"]) == {"retraining"}
    assert [row.layer for row in found.itertuples() if row.outside] == ["c0"]


def test_checkpoints_are_compared_with_their_retrainings(tmp_path: Path) -> None:
    for seed in range(4):
        torch.save(weights(seed), tmp_path / f"{seed}.pt")
    found = filterlens.compare(tmp_path / "0.pt", tmp_path / "1.pt", noise=[tmp_path / "2.pt", tmp_path / "3.pt"])
    assert set(found["noise_from"]) == {"retraining"}
    largest = max(
        filterlens.compare(tmp_path / "0.pt", tmp_path / f"{seed}.pt").query("metric == 'sparsity' and layer != ''")[
            "difference"
        ].abs().max()
        for seed in (2, 3)
    )  # fmt: skip
    layers = found[(found["metric"] == "sparsity") & (found["layer"] != "")]
    assert np.allclose(layers["noise"], largest)


def test_the_top_keeps_every_mean_and_says_what_is_left_out(tmp_path: Path) -> None:
    for seed in range(2):
        torch.save(weights(seed), tmp_path / f"{seed}.pt")
    every = filterlens.compare(tmp_path / "0.pt", tmp_path / "1.pt")
    top = filterlens.compare(tmp_path / "0.pt", tmp_path / "1.pt", top=2)
    pd.testing.assert_frame_equal(top.reset_index(drop=True), every.head(len(top)), check_like=False)
    layers = int((every["layer"] != "").sum())
    assert top.attrs["notes"][-1] == f"{layers - 2} smaller changes of layers are left out (--top {layers} shows all)"
    with pytest.raises(InputError, match="--top -1"):
        filterlens.compare("a.pt", "b.pt", top=-1)


def test_two_checkpoints_without_a_layer_of_one_name_are_said(tmp_path: Path) -> None:
    torch.save(weights(0), tmp_path / "0.pt")
    torch.save({f"net.{name}": tensor for name, tensor in weights(0).items()}, tmp_path / "net.pt")
    (note,) = filterlens.compare(tmp_path / "0.pt", tmp_path / "net.pt").attrs["notes"]
    assert note.startswith(
        "no layer of the one has the name of a layer of the other (block.conv … and net.block.conv …)"
    )
