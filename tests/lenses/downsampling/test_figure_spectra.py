"""The figures' spectra agree with the scores, and with closed forms."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from filterlens.errors import InputError
from filterlens.lenses.downsampling.aliasing import alias_energy, aliasing_relative
from filterlens.lenses.downsampling.figure_spectra import alias_free, power_spectra, radial_mean
from filterlens.loaders.alias_free import AliasFreeDownsampling

SIZES = [((8, 8), (2, 2)), ((12, 18), (3, 3)), ((8, 15), (2, 3)), ((6, 7), (2, 1)), ((10, 14), (2, 2))]


def maps(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.4, 1, (4, *size))


@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_the_spectra_give_the_scores(size: tuple[int, int], stride: tuple[int, int]) -> None:
    dense = maps(size)
    spectra = power_spectra(dense, stride=stride)
    total = spectra.dense.sum((-2, -1))
    output, kept = spectra.output, spectra.alias_free
    assert output.shape == kept.shape == (4, size[0] // stride[0], size[1] // stride[1])
    np.testing.assert_allclose(total, dense.var((-2, -1)), rtol=1e-12)
    np.testing.assert_allclose(1 - kept.sum((-2, -1)) / total, alias_energy(dense, stride=stride), rtol=1e-9)
    # D's mean alone was taken off, so O keeps the mean that aliasing gave it
    np.testing.assert_allclose(
        np.abs(output - kept).sum((-2, -1)) / total, aliasing_relative(dense, stride=stride), rtol=1e-9
    )


@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_the_alias_free_map_is_that_of_the_layer(size: tuple[int, int], stride: tuple[int, int]) -> None:
    dense = maps(size)
    layer = AliasFreeDownsampling(stride)(torch.from_numpy(dense)[:, None])[:, 0]
    np.testing.assert_allclose(alias_free(dense, stride=stride), layer.numpy(), atol=1e-12)


def test_a_wave_has_its_power_in_the_ring_of_its_frequency() -> None:
    x = np.cos(2 * np.pi * 5 * np.arange(32) / 32)
    spectra = power_spectra(np.tile(x, (32, 1)), stride=(2, 2))
    frequency, power = radial_mean(spectra.dense)
    assert frequency[np.argmax(power)] == pytest.approx(5 / 32, abs=1 / 64)
    ring = (np.rint(np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32))) * 32) == 5).sum()
    assert power.max() * ring == pytest.approx(0.5)
    assert np.delete(power, np.argmax(power)).max() < 1e-20


def test_white_noise_is_flat_and_what_folds_adds_up() -> None:
    dense = np.random.default_rng(0).normal(0, 1, (1600, 16, 16))
    spectra = power_spectra(dense, stride=(2, 2))
    _, flat = radial_mean(spectra.dense.mean(0), width=1 / 16)
    frequency, folded = radial_mean(spectra.output.mean(0), step=(2, 2), width=1 / 16)
    np.testing.assert_allclose(flat, 1 / 256, rtol=0.05)
    np.testing.assert_allclose(folded, 4 / 256, rtol=0.1)
    assert frequency.max() <= 0.25 + 1e-9


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="no dense maps of stride 2x2"):
        power_spectra(np.zeros((3, 7, 8)), stride=(2, 2))


def test_the_module_loads_no_torch() -> None:
    code = "import sys, filterlens.lenses.downsampling.figure_spectra; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
