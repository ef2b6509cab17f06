"""A manifold known only by its training images: near an image, the span of its nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from filterlens.errors import InputError
from filterlens.manifolds.protocol import Capability, Points
from filterlens.manifolds.spans import orthonormal_basis, project_on_span

__all__ = ["Neighbours", "nearest"]

_BYTES = 128 << 20  # of one working array


class Neighbours:
    """Local linear manifold: the span of the k nearest training images, centred at the image.

    Parameters
    ----------
    pixels
        Training images, float32 in [0, 1], shape (N, channels, height, width).
    labels
        Their classes, shape (N,).
    k
        How many neighbours; where there are fewer images, all of them.
    same_class
        Look for neighbours in the image's own class only; the paper and its code look in all of them.

    Raises
    ------
    InputError
        There are no training images, or their shapes do not fit.

    Notes
    -----
    The published code centres at the neighbours' mean and measures the arbitrary direction that a rank-deficient
    QR adds; here the span is centred at the image, as the paper says, and its rank is what it is.

    References
    ----------
    [Stutz2019]_, section 3.1 and the supplement.
    """

    name = "neighbours"
    capabilities: frozenset[Capability] = frozenset({"project"})
    latent_bounds: tuple[Tensor, Tensor] | None = None

    def __init__(self, pixels: Tensor, labels: Tensor, k: int = 50, *, same_class: bool = False) -> None:
        if pixels.ndim != 4 or len(pixels) != len(labels) or len(pixels) == 0 or k < 1:
            raise InputError(
                "neighbours need training images of shape (N, channels, height, width), one label each and k > 0; "
                f"got shape {tuple(pixels.shape)}, {len(labels)} labels, k = {k}"
            )
        self.k, self.same_class = k, same_class
        self._rows = pixels.flatten(1)
        self._labels = labels
        self._latest: tuple[Points, Tensor] | None = None  # attacked, noise and angle ask for the same tangent space

    def encode(self, points: Points) -> Tensor:
        """Not possible: a set of images has no coordinates of its own."""
        raise InputError(_no_decoder("encode", len(points)))

    def decode(self, latents: Tensor, points: Points) -> Tensor:
        """Not possible: a set of images has no decoder."""
        raise InputError(_no_decoder("decode", len(latents) or len(points)))

    def class_of(self, images: Tensor, points: Points, latents: Tensor) -> Tensor:
        """Not possible: nothing is decoded."""
        raise InputError(_no_decoder("decode", len(images) or len(points) or len(latents)))

    def project(self, images: Tensor, points: Points, latents: Tensor | None = None) -> Tensor:
        """Orthogonal projection of images on the span at their clean images; see `Manifold.project`.

        Raises
        ------
        InputError
            Image sizes differ, or under `same_class` a class has no training image.
        """
        del latents
        delta = (images - points.pixels).flatten(1)
        moved = project_on_span(delta, self.tangent(points))
        return points.pixels + moved.reshape(points.pixels.shape).to(points.pixels.dtype)

    def tangent(self, points: Points) -> Tensor:
        """Orthonormal basis of the span of neighbours minus image; see `Manifold.tangent`."""
        if self._latest is None or self._latest[0] is not points:
            self._latest = (points, orthonormal_basis(self._vectors(points)))
        return self._latest[1]

    def held_out_distance(self, images: Tensor, points: Points) -> Tensor:
        """Distance of images to the affine hull of the clean ones' neighbours, which leaves them out, shape (n,)."""
        vectors = self._vectors(points)
        present = vectors.square().sum(dim=2, keepdim=True) > 0
        centre = vectors.sum(dim=1, keepdim=True) / present.sum(dim=1, keepdim=True).clamp(min=1)
        basis = orthonormal_basis(torch.where(present, vectors - centre, 0.0))
        offset = (images - points.pixels).flatten(1).double() - centre.squeeze(1)  # from the neighbours' mean
        length: Tensor = torch.linalg.vector_norm(offset - project_on_span(offset, basis), dim=1)
        return length

    def _vectors(self, points: Points) -> Tensor:
        """Nearest training images minus the image, float64, shape (n, k, D); zero rows where there are fewer."""
        queries = points.pixels.flatten(1)
        if queries.shape[1] != self._rows.shape[1]:
            raise InputError(
                f"the images have {queries.shape[1]} values each, the training images {self._rows.shape[1]}: "
                "give training images of the same size"
            )
        found = torch.zeros(len(queries), self.k, queries.shape[1], dtype=torch.float64, device=queries.device)
        for rows, pool in self._searches(points.labels):
            index, squared = nearest(queries[rows], pool, self.k)
            vectors = pool[index].double() - queries[rows].double().unsqueeze(1)
            found[rows, : vectors.shape[1]] = vectors * squared.isfinite().unsqueeze(2)
        return found

    def _searches(self, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Which images look for neighbours among which training images."""
        if not self.same_class:
            yield torch.arange(len(labels), device=labels.device), self._rows
            return
        for label in torch.unique(labels):
            pool = self._rows[self._labels == label]
            if len(pool) == 0:
                raise InputError(f"no training image has class {int(label)}: its neighbours cannot be found")
            yield torch.nonzero(labels == label)[:, 0], pool


def nearest(queries: Tensor, pool: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Nearest rows of a pool, exactly, leaving out rows equal to the query (the image itself).

    Parameters
    ----------
    queries
        Shape (n, D).
    pool
        Shape (N, D).
    k
        How many.

    Returns
    -------
        Indices into the pool and squared distances (float64), nearest first, both of shape (n, min(k, N)); a left
        out row has distance infinity.
    """
    k = min(k, len(pool))
    centre = pool.mean(dim=0, dtype=torch.float64)  # distances do not change, cancellation does
    q = queries.double() - centre
    best = torch.full((len(queries), 0), torch.inf, dtype=torch.float64, device=queries.device)
    index = torch.zeros((len(queries), 0), dtype=torch.int64, device=queries.device)
    size = max(k, _BYTES // (8 * pool.shape[1]))
    for start in range(0, len(pool), size):
        p = pool[start : start + size].double() - centre
        lengths = q.square().sum(dim=1, keepdim=True) + p.square().sum(dim=1)
        squared = lengths - 2 * q @ p.T
        squared = torch.where(squared <= 1e-12 * lengths, torch.inf, squared)
        best = torch.cat([best, squared], dim=1)
        index = torch.cat([index, torch.arange(start, start + len(p), device=queries.device).expand(len(q), -1)], dim=1)
        best, chosen = best.topk(k, dim=1, largest=False)
        index = index.gather(1, chosen)
    return index, best


def _no_decoder(what: str, n: int) -> str:
    return (
        f"the neighbours manifold cannot {what} {n} images: it has no decoder; use --manifold fonts or the file of a "
        "learned decoder for on-manifold attacks"
    )
