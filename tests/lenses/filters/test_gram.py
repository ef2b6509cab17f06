from __future__ import annotations

import pytest
import torch

from filterlens.lenses.filters import gram


def exact(rows: torch.Tensor) -> float:
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True).clamp(min=1e-300)
    cosines = (unit @ unit.T).abs().fill_diagonal_(0)
    return float(cosines.sum()) / (len(rows) * (len(rows) - 1))


def rows_of(kind: str, n: int, d: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n + d)
    noise = torch.randn(n, d, generator=generator)
    common = torch.randn(1, d, generator=generator)
    match kind:
        case "random":
            return noise
        case "slightly correlated":
            return noise + 0.1 * common
        case "correlated":
            return noise + common
        case "strongly correlated":
            return 0.01 * noise + common
        case "equal":
            return common.repeat(n, 1)
        case "clusters":
            return 0.1 * noise + torch.randn(8, d, generator=generator)[torch.arange(n) % 8]
        case "low rank":
            return noise[:, :16] @ torch.randn(16, d, generator=generator)
        case "uneven rows":
            return noise * torch.logspace(0, -30, n)[:, None]
        case "some zero":
            noise[::3] = 0
            return noise
    raise AssertionError(kind)


KINDS = [
    "random",
    "slightly correlated",
    "correlated",
    "strongly correlated",
    "equal",
    "clusters",
    "low rank",
    "uneven rows",
    "some zero",
]
PRODUCTS = [gram.float32_product, gram.convolution_product]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quick", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("product", PRODUCTS)
def test_every_way_to_multiply_gives_the_float64_mean(monkeypatch, kind, quick, product):
    monkeypatch.setattr(gram, "products", lambda: (product, quick))
    rows = rows_of(kind, 520, 1152)
    assert gram.mean_absolute_cosine(rows) == pytest.approx(exact(rows), abs=1e-6)


def test_bfloat16_alone_would_be_off_on_correlated_rows_and_is_thrown_away():
    rows = rows_of("strongly correlated", 520, 1152)
    rounded = rows.bfloat16()
    n = len(rows)
    alone = gram._absolute_sum(rounded, gram._inverse_norms(rows), gram.bfloat16_product) / (n * (n - 1))
    assert abs(alone - exact(rows)) > 1e-5
    assert gram._bfloat16_mean(rows, gram.float32_product) is None


def test_bfloat16_serves_where_its_errors_average_out():
    rows = rows_of("random", 768, 6912)
    found = gram._bfloat16_mean(rows, gram.float32_product)
    assert found is not None
    assert found == pytest.approx(exact(rows), abs=1e-6)


@pytest.mark.parametrize("product", PRODUCTS)
def test_products_are_what_they_say(product):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 63, generator=generator), torch.randn(7, 63, generator=generator)
    torch.testing.assert_close(product(a, b), a @ b.T)


def test_the_choice_of_product_is_made_once():
    assert gram.products() is gram.products()
    assert gram.products()[0] in PRODUCTS
