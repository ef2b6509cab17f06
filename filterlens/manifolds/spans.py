"""Linear spans of a few vectors in pixel space, many at a time: bases, projections, angles."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["angle_to_span", "orthonormal_basis", "project_on_span"]

_RELATIVE_RANK = 1e-10  # of the largest eigenvalue of the Gram matrix: singular values below 1e-5 of the largest


def orthonormal_basis(vectors: Tensor) -> Tensor:
    """Orthonormal basis of the span of each set of vectors, through one batched eigendecomposition.

    Parameters
    ----------
    vectors
        n sets of k vectors in D dimensions, shape (n, k, D); k may exceed the rank or D.

    Returns
    -------
        float64, shape (n, k, D): orthonormal rows, zero beyond the rank.

    Notes
    -----
    Dependent vectors must add nothing: the code published with Stutz2019 takes the QR factor of 51 centred
    vectors, whose rank is 50, so that one arbitrary direction joins the span.

    Examples
    --------
    >>> basis = orthonormal_basis(torch.tensor([[[2.0, 0.0], [1.0, 0.0]]]))
    >>> round(float(basis.square().sum()), 6)  # its rank
    1.0
    """
    v = vectors.double()
    values, directions = torch.linalg.eigh(v @ v.mT)  # (n, k), (n, k, k)
    kept = values > _RELATIVE_RANK * values[:, -1:].clamp(min=torch.finfo(torch.float64).tiny)
    scale = torch.where(kept, values.clamp(min=torch.finfo(torch.float64).tiny).rsqrt(), 0.0)
    basis: Tensor = (directions * scale.unsqueeze(1)).mT @ v
    return basis


def project_on_span(vectors: Tensor, basis: Tensor) -> Tensor:
    """Orthogonal projection of one vector a set, shape (n, D), on the span of its basis, shape (n, k, D)."""
    coordinates = torch.einsum("nkd,nd->nk", basis, vectors.double())
    return torch.einsum("nkd,nk->nd", basis, coordinates)


def angle_to_span(vectors: Tensor, basis: Tensor) -> Tensor:
    """Angle in degrees between a vector and a span: 0 inside of it, 90 orthogonal to it.

    Parameters
    ----------
    vectors
        Shape (n, D).
    basis
        Orthonormal rows or zero rows, shape (n, k, D).

    Returns
    -------
        float64, shape (n,), in [0, 90]; NaN for a vector of zeros.
    """
    inside = project_on_span(vectors, basis)
    along = torch.linalg.vector_norm(inside, dim=1)
    across = torch.linalg.vector_norm(vectors.double() - inside, dim=1)
    angle = torch.rad2deg(torch.atan2(across, along))
    return torch.where((along == 0) & (across == 0), torch.nan, angle)
