"""The aliasing scores against a slow oracle, closed forms and the definition's identities."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import DumpError, InputError
from filterlens.lenses.downsampling.aliasing import alias_energy, aliasing, aliasing_relative, map_scores
from filterlens.lenses.downsampling.analyzer import analyze

SHAPES = [
    ((8, 8), (2, 2)),
    ((12, 18), (3, 3)),
    ((10, 14), (2, 2)),
    ((8, 15), (2, 3)),
    ((16, 4), (4, 4)),
    ((6, 7), (2, 1)),
]


def maps_of(shape: tuple[int, int], n: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.7, 1.0, (n, *shape))


def slow_scores(dense: np.ndarray, stride: tuple[int, int]) -> tuple[float, float, float]:
    """One map, straight from the definition: shifted full transforms, the centre cut out by frequency."""

    def spectrum(x: np.ndarray) -> np.ndarray:
        return np.fft.fft2(x) / x.size

    def centre(f: np.ndarray, height: int, width: int) -> np.ndarray:
        rows = [k % f.shape[0] for k in range(-(height // 2), math.ceil(height / 2))]
        columns = [k % f.shape[1] for k in range(-(width // 2), math.ceil(width / 2))]
        return f[np.ix_(rows, columns)]

    output = dense[:: stride[0], :: stride[1]]
    h, w = output.shape
    p_o = np.abs(centre(spectrum(output), h, w)) ** 2
    p_a = np.abs(centre(spectrum(dense), h, w)) ** 2
    measure = np.abs(p_o - p_a).sum()
    mean = dense.mean()
    power = (np.abs(spectrum(dense - mean)) ** 2).sum()
    q_o = np.abs(centre(spectrum(output - mean), h, w)) ** 2
    q_a = np.abs(centre(spectrum(dense - mean), h, w)) ** 2
    return measure, np.abs(q_o - q_a).sum() / power, 1 - q_a.sum() / power


def band_limited(shape: tuple[int, int], stride: tuple[int, int], seed: int = 0) -> np.ndarray:
    spectrum = np.fft.fft2(maps_of(shape, 1, seed)[0])
    k = np.abs(np.fft.fftfreq(shape[0], 1 / shape[0]))[:, None]
    l = np.abs(np.fft.fftfreq(shape[1], 1 / shape[1]))[None, :]  # noqa: E741 - the formula's letter
    keep = (k < shape[0] / stride[0] / 2) | (stride[0] == 1)
    keep = keep & ((l < shape[1] / stride[1] / 2) | (stride[1] == 1))
    return np.fft.ifft2(spectrum * keep).real


@pytest.mark.parametrize(("shape", "stride"), SHAPES)
def test_scores_equal_the_slow_oracle(shape: tuple[int, int], stride: tuple[int, int]) -> None:
    dense = maps_of(shape)
    expected = np.array([slow_scores(d, stride) for d in dense])
    np.testing.assert_allclose(aliasing(dense, stride=stride), expected[:, 0], rtol=1e-10)
    np.testing.assert_allclose(aliasing_relative(dense, stride=stride), expected[:, 1], rtol=1e-10)
    np.testing.assert_allclose(alias_energy(dense, stride=stride), expected[:, 2], rtol=1e-10)


@pytest.mark.parametrize(("shape", "stride"), SHAPES)
def test_spectrum_of_the_output_is_the_sum_of_the_folds(shape: tuple[int, int], stride: tuple[int, int]) -> None:
    dense = maps_of(shape, 1)[0]
    h, w = shape[0] // stride[0], shape[1] // stride[1]
    folds = (np.fft.fft2(dense) / dense.size).reshape(stride[0], h, stride[1], w).sum((0, 2))
    np.testing.assert_allclose(folds, np.fft.fft2(dense[:: stride[0], :: stride[1]]) / (h * w), atol=1e-14)


@pytest.mark.parametrize(("shape", "stride"), SHAPES)
def test_a_map_band_limited_below_the_new_nyquist_scores_zero(shape: tuple[int, int], stride: tuple[int, int]) -> None:
    dense = band_limited(shape, stride)
    assert dense.std() > 0.1
    for score in (aliasing, aliasing_relative, alias_energy):
        assert float(score(dense, stride=stride)) == pytest.approx(0, abs=1e-12)


def test_a_constant_map_has_neither_relative_aliasing_nor_alias_energy() -> None:
    for value in (0.0, 1e-3, 123.456):
        dense = torch.full((3, 6, 6), value)
        for score in (aliasing, aliasing_relative, alias_energy):
            assert score(dense, stride=(2, 2)).tolist() == [0, 0, 0]
        assert aliasing_relative(np.full((60, 60), value), stride=(2, 2)) == 0


@given(factor=st.floats(1e-2, 1e2), sign=st.sampled_from([-1, 1]), seed=st.integers(0, 1000))
def test_aliasing_scales_with_the_square_and_the_other_two_not_at_all(factor: float, sign: int, seed: int) -> None:
    dense = maps_of((8, 12), 2, seed)
    scaled = sign * factor * dense
    np.testing.assert_allclose(
        aliasing(scaled, stride=(2, 3)), factor**2 * aliasing(dense, stride=(2, 3)), rtol=1e-9, atol=1e-13
    )
    for score in (aliasing_relative, alias_energy):
        np.testing.assert_allclose(score(scaled, stride=(2, 3)), score(dense, stride=(2, 3)), rtol=1e-9)


@given(offset=st.floats(-50, 50))
def test_relative_scores_do_not_see_the_mean(offset: float) -> None:
    dense = maps_of((8, 8), 2)
    for score in (aliasing_relative, alias_energy):
        np.testing.assert_allclose(score(dense + offset, stride=(2, 2)), score(dense, stride=(2, 2)), rtol=1e-8)


@pytest.mark.parametrize("stride", [(2, 2), (3, 3), (2, 1), (4, 4)])
def test_white_noise_has_its_closed_form(stride: tuple[int, int]) -> None:
    """A and the sum B of the other folds are independent complex normals: E| |A+B|² - |A|² | in closed form."""
    s = stride[0] * stride[1]
    dense = np.random.default_rng(1).normal(0, 1.5, (400, 48, 48))
    expected = (s + 1) / s * math.sqrt((s - 1) / (s + 3))
    assert aliasing(dense, stride=stride).mean() == pytest.approx(1.5**2 * expected, rel=0.02)
    assert aliasing_relative(dense, stride=stride).mean() == pytest.approx(expected, rel=0.02)
    assert alias_energy(dense, stride=stride).mean() == pytest.approx(1 - 1 / s, rel=0.01)


def test_float32_with_a_large_mean_gives_the_float64_scores() -> None:
    dense = np.maximum(maps_of((32, 32), 64), 0) + 30
    fine = map_scores(torch.from_numpy(dense), stride=(2, 2))
    coarse = map_scores(torch.from_numpy(dense).float(), stride=(2, 2))
    for name in ("aliasing", "aliasing_relative", "alias_energy"):
        assert getattr(coarse, name).mean().item() == pytest.approx(getattr(fine, name).mean().item(), rel=1e-5)


def test_arrays_and_tensors_give_their_own_kind_and_leave_the_input_alone() -> None:
    dense = maps_of((8, 8), 3).astype(np.float32)
    before = dense.copy()
    array = aliasing(dense, stride=(2, 2))
    tensor = aliasing(torch.from_numpy(dense), stride=(2, 2))
    assert isinstance(array, np.ndarray)
    assert isinstance(tensor, torch.Tensor)
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, tensor.numpy())
    np.testing.assert_array_equal(dense, before)


def test_half_precision_maps_are_scored_in_single_precision() -> None:
    dense = torch.from_numpy(maps_of((16, 16), 8)).half()
    np.testing.assert_allclose(aliasing(dense, stride=(2, 2)), aliasing(dense.double(), stride=(2, 2)), rtol=1e-4)


@pytest.mark.parametrize("shape", [(7, 8), (8,), (0, 4)])
def test_a_size_that_is_no_multiple_of_the_stride_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="multiples of it"):
        aliasing(np.zeros(shape), stride=(2, 2))


def dump(path: Path, maps: dict[str, tuple[np.ndarray, dict[str, object]]]) -> Path:
    with DumpWriter(path, {"model_id": "m", "catalog_row": json.dumps({})}) as writer:
        group = writer.lens("downsampling", {})
        for name, (array, attributes) in maps.items():
            group.write(name, array, **attributes)  # type: ignore[arg-type]
    return path


def test_analyze_gives_the_mean_over_images_and_channels_with_shortcuts_out_of_the_models_mean(tmp_path: Path) -> None:
    dense = {name: maps_of((8, 8), 6, i).reshape(2, 3, 8, 8) for i, name in enumerate(("b", "a", "p"))}
    kinds = {"b": "main", "a": "shortcut", "p": "pool"}
    stride = np.array([2, 2])
    path = dump(tmp_path / "m.h5", {n: (d, {"kind": kinds[n], "stride": stride}) for n, d in dense.items()})
    with DumpReader(path) as reader:
        rows = analyze(reader.lens("downsampling"))
    found = {(row["metric"], row["layer"]): row for row in rows}
    assert [row["layer"] for row in rows if row["metric"] == "aliasing"] == ["b", "a", "p"]
    for name, array in dense.items():
        row = found["aliasing", name]
        assert row["value"] == pytest.approx(aliasing(array, stride=(2, 2)).mean(), rel=1e-12)
        assert row["kind"] == kinds[name]
        assert row["weight"] == (0.0 if name == "a" else 1.0)
    assert [found["alias_energy", n]["conv_depth"] for n in ("b", "a", "p")] == [0, 1, 2]


def test_a_layer_that_is_not_finite_has_no_score_and_says_so(tmp_path: Path) -> None:
    dense = maps_of((8, 8), 4).reshape(2, 2, 8, 8)
    dense[1, 0, 3, 3] = np.inf
    path = dump(tmp_path / "m.h5", {"conv": (dense, {"kind": "main", "stride": np.array([2, 2])})})
    with DumpReader(path) as reader:
        rows = analyze(reader.lens("downsampling"))
    assert all(math.isnan(row["value"]) and "NaN or Inf" in row["note"] for row in rows)  # type: ignore[arg-type, operator]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [({"kind": "main"}, "lacks the attributes"), ({"kind": "main", "stride": np.array([3, 3])}, "no dense map")],
)
def test_a_dump_that_does_not_fit_is_refused(tmp_path: Path, attributes: dict[str, object], message: str) -> None:
    path = dump(tmp_path / "m.h5", {"conv": (maps_of((8, 8), 4).reshape(2, 2, 8, 8), attributes)})
    with DumpReader(path) as reader, pytest.raises(DumpError, match=message):
        analyze(reader.lens("downsampling"))
