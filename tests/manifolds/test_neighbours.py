from __future__ import annotations

import numpy as np
import pytest
import torch

from filterlens.errors import InputError
from filterlens.manifolds import Neighbours, Points, distance
from filterlens.manifolds.neighbours import nearest


def plane(n: int, *, seed: int, dimension: int = 3, side: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Images on a known affine plane of `dimension`, and its orthonormal directions."""
    g = torch.Generator().manual_seed(99)
    directions = torch.linalg.qr(torch.randn(side * side, dimension, generator=g, dtype=torch.float64)).Q.T
    coordinates = torch.rand(n, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    return (0.5 + 0.3 * coordinates @ directions).reshape(n, 1, side, side), directions


@pytest.fixture
def linear() -> tuple[Neighbours, Points, torch.Tensor]:
    train, directions = plane(300, seed=0)
    test, _ = plane(7, seed=1)
    points = Points(test, torch.arange(7) % 2)
    return Neighbours(train, torch.arange(300) % 2, k=50), points, directions


def test_a_point_on_the_plane_has_distance_zero(linear: tuple[Neighbours, Points, torch.Tensor]) -> None:
    manifold, points, directions = linear
    along = points.pixels + (0.1 * directions[0]).reshape(1, 1, 6, 6)
    assert distance(along, manifold.project(along, points)).max() < 1e-6


def test_a_point_moved_along_a_normal_has_that_distance(linear: tuple[Neighbours, Points, torch.Tensor]) -> None:
    manifold, points, directions = linear
    g = torch.Generator().manual_seed(3)
    normal = torch.randn(36, generator=g, dtype=torch.float64)
    normal -= directions.T @ (directions @ normal)
    normal = (normal / normal.norm()).reshape(1, 1, 6, 6)
    moved = points.pixels + 0.25 * normal + (0.05 * directions[1]).reshape(1, 1, 6, 6)
    torch.testing.assert_close(
        distance(moved, manifold.project(moved, points)), torch.full((7,), 0.25, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_clean_images_of_the_plane_lie_in_the_hull_of_their_neighbours_and_others_do_not(
    linear: tuple[Neighbours, Points, torch.Tensor],
) -> None:
    manifold, points, _ = linear
    assert manifold.held_out_distance(points.pixels, points).max() < 1e-6
    outside = Points(points.pixels + 0.01 * torch.randn(7, 1, 6, 6, generator=torch.Generator().manual_seed(0)),
                     points.labels)  # fmt: skip
    assert manifold.held_out_distance(outside.pixels, outside).min() > 0.01
    # whichever clean image the hull belongs to, a moved one is as far as it was moved off the plane
    torch.testing.assert_close(
        manifold.held_out_distance(outside.pixels, points),
        distance(outside.pixels, manifold.project(outside.pixels, points)),
        atol=1e-6,
        rtol=0,
    )


def test_its_tangent_space_has_the_planes_rank(linear: tuple[Neighbours, Points, torch.Tensor]) -> None:
    manifold, points, directions = linear
    basis = manifold.tangent(points)
    assert basis.shape == (7, 50, 36)
    assert ((basis.norm(dim=2) > 0.5).sum(dim=1) == 3).all()
    # every direction of the plane lies in it
    residue = directions - torch.einsum("nkd,nke,pe->npd", basis, basis, directions)
    assert residue.abs().max() < 1e-6


def test_neighbours_are_those_of_the_slow_search() -> None:
    g = torch.Generator().manual_seed(0)
    queries, pool = torch.rand(5, 20, generator=g), torch.rand(400, 20, generator=g)
    index, squared = nearest(queries, pool, 9)
    slow = ((queries[:, None].double() - pool.double()) ** 2).sum(-1)
    np.testing.assert_array_equal(index.numpy(), slow.argsort(dim=1)[:, :9].numpy())
    torch.testing.assert_close(squared, slow.sort(dim=1).values[:, :9])


def test_a_search_in_chunks_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(1)
    queries, pool = torch.rand(6, 30, generator=g), torch.rand(500, 30, generator=g)
    whole = nearest(queries, pool, 10)
    monkeypatch.setattr("filterlens.manifolds.neighbours._BYTES", 8 * 30 * 37)
    parts = nearest(queries, pool, 10)
    torch.testing.assert_close(parts[1], whole[1])
    assert torch.equal(parts[0], whole[0])


def test_an_image_is_no_neighbour_of_itself() -> None:
    pool = torch.rand(20, 8, generator=torch.Generator().manual_seed(0))
    index, squared = nearest(pool[4:5], pool, 5)
    assert 4 not in index[squared.isfinite()]
    assert squared.isfinite().sum() == 5


def test_a_class_with_few_images_gives_all_it_has(linear: tuple[Neighbours, Points, torch.Tensor]) -> None:
    _, points, _ = linear
    train, _ = plane(6, seed=5)
    manifold = Neighbours(train, torch.tensor([0, 0, 0, 1, 1, 1]), k=50, same_class=True)
    assert ((manifold.tangent(points).norm(dim=2) > 0.5).sum(dim=1) == 3).all()


def test_a_class_without_training_images_is_refused(linear: tuple[Neighbours, Points, torch.Tensor]) -> None:
    _, points, _ = linear
    train, _ = plane(6, seed=5)
    with pytest.raises(InputError, match="no training image has class 1"):
        Neighbours(train, torch.zeros(6, dtype=torch.int64), same_class=True).tangent(points)
    found = Neighbours(train, torch.zeros(6, dtype=torch.int64)).tangent(points)  # all classes: none is missing
    assert found.abs().amax(dim=(1, 2)).min() > 0


def test_neighbours_are_of_all_classes_unless_told_otherwise() -> None:
    """As published: an image's nearest training images span its manifold, whatever their classes."""
    generator = torch.Generator().manual_seed(0)
    train, labels = torch.rand(200, 1, 6, 6, generator=generator), torch.arange(200) % 4
    points = Points(torch.rand(5, 1, 6, 6, generator=generator), torch.arange(5) % 4)
    squared = (points.pixels.flatten(1)[:, None].double() - train.flatten(1).double()).square().sum(dim=2)
    for same_class in (False, True):
        allowed = labels == points.labels[:, None] if same_class else torch.ones(5, 200, dtype=torch.bool)
        slow = torch.where(allowed, squared, torch.inf).argsort(dim=1)[:, :7]
        spans = train.flatten(1)[slow].double() - points.pixels.flatten(1).double()[:, None]
        basis = Neighbours(train, labels, k=7, same_class=same_class).tangent(points)
        inside = torch.einsum("nkd,nke,nje->njd", basis, basis, spans)
        torch.testing.assert_close(inside, spans)
        assert ((basis.norm(dim=2) > 0.5).sum(dim=1) == 7).all()
    assert not torch.equal(*(Neighbours(train, labels, k=7, same_class=own).tangent(points) for own in (False, True)))


def test_training_images_of_another_size_are_refused(linear: tuple[Neighbours, Points, torch.Tensor]) -> None:
    _, points, _ = linear
    with pytest.raises(InputError, match="36 values each, the training images 25"):
        Neighbours(torch.rand(9, 1, 5, 5), torch.zeros(9, dtype=torch.int64)).tangent(points)


def test_it_has_no_decoder(linear: tuple[Neighbours, Points, torch.Tensor]) -> None:
    manifold, points, _ = linear
    assert manifold.capabilities == {"project"}
    with pytest.raises(InputError, match="no decoder"):
        manifold.encode(points)
    with pytest.raises(InputError, match="no decoder"):
        manifold.decode(torch.zeros(7, 2), points)


def test_no_training_images_are_refused() -> None:
    with pytest.raises(InputError, match="neighbours need training images"):
        Neighbours(torch.zeros(0, 1, 4, 4), torch.zeros(0))
