"""How much a downsampling operation folds: three scores of its dense map.

A dense map D, shape (..., s_h H, s_w W), is an operation's output at stride 1; the real output is
O = D[::s_h, ::s_w]. With DFTs divided by their number of samples, P_O is the power spectrum of O and P_A the central
H x W block of D's: what an ideal low-pass filter before subsampling would have left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.errors import InputError

__all__ = [
    "MapScores",
    "alias_energy",
    "aliasing",
    "aliasing_relative",
    "map_scores",
]

Maps = TypeVar("Maps", Tensor, NDArray[np.floating])


@dataclass(frozen=True, slots=True, eq=False)
class MapScores:
    """The three scores of every map, float64 tensors of shape (...) on the maps' device."""

    aliasing: Tensor
    aliasing_relative: Tensor
    alias_energy: Tensor


def map_scores(dense: Tensor, *, stride: tuple[int, int]) -> MapScores:
    """Compute all three scores of every map with two FFTs of real maps.

    Parameters
    ----------
    dense
        Real maps, shape (..., s_h H, s_w W), any float type and device.
    stride
        (s_h, s_w).

    Raises
    ------
    InputError
        The maps' size is no multiple of the stride.

    References
    ----------
    Grabinski2022; formulas in `docs/lenses/downsampling.md`.

    Notes
    -----
    The maps are centred before the transform and their mean m is put back into the one coefficient that holds it:
    P_O(0) - P_A(0) = o (2 m + o), with o the mean of the centred O. So float32 loses nothing to a large mean, and
    the scores with and without the mean come from one transform.
    """
    _check_size(dense.shape, stride)
    maps = dense.to(torch.float32) if dense.dtype in {torch.float16, torch.bfloat16} else dense
    pivot = maps.mean((-2, -1))
    centred = maps - pivot[..., None, None]
    output = centred[..., :: stride[0], :: stride[1]]
    height, width = output.shape[-2:]

    kept, rest = _central_power(centred, height, width)  # P_A, and what rounding left of the mean
    folded, output_mean = _central_power(output, height, width)  # P_O
    difference = folded.sub_(kept).abs_()
    difference[..., 0, 0] = 0
    kept[..., 0, 0] = 0
    excess = difference.sum((-2, -1)).double()
    shift = output_mean - rest
    mean = pivot.double() + rest
    n_samples = centred.shape[-2] * centred.shape[-1]
    power = torch.linalg.vector_norm(centred, dim=(-2, -1)).double().square() / n_samples - rest.square()  # Parseval

    rounding = (16 * torch.finfo(maps.dtype).eps * mean).square()
    constant = power <= rounding
    safe = torch.where(constant, 1.0, power)
    outside = (safe - kept.sum((-2, -1))).clamp(min=0)
    return MapScores(
        aliasing=excess + (shift * (2 * mean + shift)).abs(),
        aliasing_relative=torch.where(constant, 0.0, (excess + shift.square()) / safe),
        alias_energy=torch.where(constant, 0.0, outside / safe),
    )


def aliasing(dense: Maps, *, stride: tuple[int, int]) -> Maps:
    """L1 distance, in the Fourier domain, between a downsampled map and its alias-free counterpart.

    Parameters
    ----------
    dense
        Real maps, shape (..., s_h H, s_w W): an array or a tensor.
    stride
        (s_h, s_w).

    Returns
    -------
        Σ over frequencies of |P_O - P_A|, shape (...), float64, in [0, ∞); 0 where nothing folds.

    Raises
    ------
    InputError
        The maps' size is no multiple of the stride.

    References
    ----------
    Our reading of the aliasing measure of Grabinski2022.

    Examples
    --------
    A chequerboard has all its power at the highest frequency, and becomes a constant:

    >>> board = np.indices((8, 8)).sum(0) % 2 * 2.0 - 1.0
    >>> float(aliasing(board, stride=(2, 2)))
    1.0
    """
    return _like(dense, map_scores(_tensor(dense), stride=stride).aliasing)


def aliasing_relative(dense: Maps, *, stride: tuple[int, int]) -> Maps:
    """Return the same distance after D's mean is taken off D and O, divided by D's remaining power.

    Parameters
    ----------
    dense
        Real maps, shape (..., s_h H, s_w W): an array or a tensor.
    stride
        (s_h, s_w).

    Returns
    -------
        Shape (...), float64, in [0, ∞), free of the map's scale and mean; 0 for a constant map.

    Raises
    ------
    InputError
        The maps' size is no multiple of the stride.

    References
    ----------
    Ours, after Grabinski2022.
    """
    return _like(dense, map_scores(_tensor(dense), stride=stride).aliasing_relative)


def alias_energy(dense: Maps, *, stride: tuple[int, int]) -> Maps:
    """Share of a map's power, its mean taken off, at frequencies that fold.

    Parameters
    ----------
    dense
        Real maps, shape (..., s_h H, s_w W): an array or a tensor.
    stride
        (s_h, s_w).

    Returns
    -------
        Shape (...), float64, in [0, 1]; 0 for a constant map.

    Raises
    ------
    InputError
        The maps' size is no multiple of the stride.

    References
    ----------
    Ours, after Grabinski2022.
    """
    return _like(dense, map_scores(_tensor(dense), stride=stride).alias_energy)


def _central_power(maps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Power at the frequencies 0 … ⌈H/2⌉ - 1, -⌊H/2⌋ … -1 (columns likewise), and the maps' means in float64.

    The maps are real, so half the columns suffice: P(k, -l) = P(-k, l).
    """
    half = torch.fft.rfft2(maps, norm="forward")
    mean = half[..., 0, 0].real.double()
    down, up, right = height // 2, -(-height // 2), -(-width // 2)
    rows = [*range(down + 1), *range(-down, 0)]  # every k and -k of the block
    index = torch.tensor([k % half.shape[-2] for k in rows], device=half.device)
    near = half[..., : width // 2 + 1].index_select(-2, index)
    power = near.real.square() + near.imag.square()
    place = {k: i for i, k in enumerate(rows)}
    wanted = [*range(up), *range(-down, 0)]
    positive = torch.tensor([place[k] for k in wanted], device=half.device)
    negative = torch.tensor([place[-k] for k in wanted], device=half.device)
    left = power[..., 1:].flip(-1).index_select(-2, negative)
    return torch.cat([power[..., :right].index_select(-2, positive), left], dim=-1), mean


def _check_size(shape: tuple[int, ...], stride: tuple[int, int]) -> None:
    fits = len(shape) >= 2 and min(stride) >= 1 and min(shape[-2:]) >= 1
    if not fits or shape[-2] % stride[0] or shape[-1] % stride[1]:
        raise InputError(
            f"a dense map for stride {stride[0]}x{stride[1]} has a height and a width that are multiples of it, "
            f"got shape {tuple(shape)}; pad it at the bottom and right"
        )


def _tensor(maps: Tensor | NDArray[np.floating]) -> Tensor:
    return maps if isinstance(maps, Tensor) else torch.from_numpy(np.ascontiguousarray(maps))


def _like(maps: Maps, values: Tensor) -> Maps:
    return values if isinstance(maps, Tensor) else values.numpy()
