from __future__ import annotations

import numpy as np
import pytest
import torch

from filterlens.errors import InputError
from filterlens.lenses.filters.conventions import CONVENTIONS, check_convention, prepare, rounded


def test_every_convention_is_known() -> None:
    for name in CONVENTIONS:
        check_convention(name)


def test_an_unknown_convention_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="'papr'; there are paper, filterdb, torchconvquality"):
        check_convention("papr")


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (torch.zeros(3, 3), r"\(3, 3\)"),
        (torch.zeros(2, 0, 3, 3), r"\(2, 0, 3, 3\)"),
        (torch.zeros(2, 2, 3, 3, dtype=torch.int64), "int64"),
        (torch.zeros(2, 2, 3, 3, dtype=torch.complex64), "complex64"),
    ],
)
def test_what_is_no_convolution_weight_is_refused(weight: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare(weight)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_arithmetic_is_in_float32_or_better(given: torch.dtype, used: torch.dtype) -> None:
    assert prepare(torch.ones(1, 1, 3, 3, dtype=given)).dtype == used


def test_the_callers_weight_is_left_alone_and_gradients_stay_out() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2, 3, 3))
    assert not prepare(weight).requires_grad
    assert weight.requires_grad


def test_filterdb_rounds_to_half_precision() -> None:
    filters = np.array([[1 + 2**-12]], np.float32)
    assert rounded(filters, "filterdb").item() == 1
    assert rounded(filters, "paper").item() == 1 + 2**-12
