from __future__ import annotations

import pytest
import torch

from filterlens.errors import InputError
from filterlens.inputs import load_images
from filterlens.manifolds import Fonts, Points, distance
from filterlens.manifolds.spans import project_on_span


@pytest.fixture(scope="module")
def points() -> Points:
    return Points.of(load_images("fonts", 12, seed=5))


@pytest.fixture(scope="module")
def fonts() -> Fonts:
    return Fonts()


def test_clean_images_have_distance_zero(fonts: Fonts, points: Points) -> None:
    assert distance(points.pixels, fonts.project(points.pixels, points)).max() < 1e-3


def test_projection_finds_clean_images_without_their_parameters(points: Points) -> None:
    assert Fonts().held_out_distance(points.pixels[:6], points.take(slice(6))).median() < 1e-3


def test_a_point_on_the_manifold_elsewhere_is_found(fonts: Fonts, points: Points) -> None:
    low, high = fonts.latent_bounds
    assert points.latents is not None
    elsewhere = (points.latents + 0.1 * (high - low) * torch.tensor([1, -1, 1, -1, 1, -1.0])).clamp(low, high)
    images = fonts.decode(elsewhere, points)
    found = distance(images, fonts.project(images, points))
    assert found.median() < 1e-4
    assert found.max() < 1e-2


def test_a_point_moved_along_a_normal_direction_has_that_distance(fonts: Fonts, points: Points) -> None:
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(len(points), 784, generator=g, dtype=torch.float64)
    normal = noise - project_on_span(noise, fonts.tangent(points))
    normal = (0.02 * normal / normal.norm(dim=1, keepdim=True)).reshape(points.pixels.shape)
    moved = points.pixels + normal.float()
    found = distance(moved, fonts.project(moved, points))
    assert (found <= 0.02 + 1e-6).all()
    assert (found > 0.9 * 0.02).all()


def test_no_random_image_of_the_manifold_is_nearer_than_the_projection(fonts: Fonts, points: Points) -> None:
    g = torch.Generator().manual_seed(1)
    noisy = points.pixels + 0.1 * torch.randn(points.pixels.shape, generator=g)
    projected = distance(noisy, fonts.project(noisy, points))
    low, high = fonts.latent_bounds
    for _ in range(50):
        z = low + torch.rand(len(points), 6, generator=g) * (high - low)
        assert (distance(noisy, fonts.decode(z, points)) >= projected - 1e-6).all()
    assert (distance(noisy, points.pixels) >= projected - 1e-9).all()


def test_decoded_images_lie_in_the_unit_box(fonts: Fonts, points: Points) -> None:
    low, high = fonts.latent_bounds
    z = low + torch.rand(len(points), 6, generator=torch.Generator().manual_seed(0)) * (high - low)
    images = fonts.decode(z, points)
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_class_never_changes(fonts: Fonts, points: Points) -> None:
    low, high = fonts.latent_bounds
    for seed in range(3):
        z = low + torch.rand(len(points), 6, generator=torch.Generator().manual_seed(seed)) * (high - low)
        assert torch.equal(fonts.class_of(fonts.decode(z, points), points, z), points.labels)


def test_an_image_does_not_depend_on_its_batch(fonts: Fonts, points: Points) -> None:
    noisy = points.pixels + 0.05
    together = distance(noisy, fonts.project(noisy, points))
    alone = torch.cat([
        distance(noisy[i : i + 1], fonts.project(noisy[i : i + 1], points.take(slice(i, i + 1)))) for i in range(3)
    ])  # fmt: skip
    torch.testing.assert_close(together[:3], alone, atol=1e-4, rtol=0)


def test_the_tangent_space_is_that_of_small_steps(fonts: Fonts, points: Points) -> None:
    step = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 2e-3])
    assert points.latents is not None
    delta = (fonts.decode(points.latents + step, points) - points.pixels).flatten(1).double()
    inside = project_on_span(delta, fonts.tangent(points))
    assert ((delta - inside).norm(dim=1) < 0.3 * delta.norm(dim=1)).all()


def test_images_without_latents_are_refused(fonts: Fonts, points: Points) -> None:
    assert points.latents is not None
    with pytest.raises(InputError, match="needs FONTS images"):
        fonts.encode(Points(points.pixels, points.labels))
    with pytest.raises(InputError, match="needs FONTS images"):
        fonts.decode(points.latents, Points(points.pixels, points.labels, points.latents))
