"""What any decoder gives: the nearest decoded image, and the tangent space by differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from filterlens.manifolds.protocol import distance
from filterlens.manifolds.spans import orthonormal_basis

__all__ = ["CONVERGED", "Decode", "nearest_latents", "tangent_by_differences"]

CONVERGED = 1e-4  # a distance to the manifold that is none

_RATE = 0.05  # Adam's first step, as a share of the latents' range
_FLOOR = 1e-3  # its last step, as a share of the first
_POLISHING = 8  # Levenberg-Marquardt steps
_DIFFERENCE = 1e-3  # of a latent's range, to both sides

Decode = Callable[[Tensor, Tensor], Tensor]  # of latents (m, d) and the images' rows (m,) that they are for


def nearest_latents(
    decode: Decode, images: Tensor, starts: Tensor, bounds: tuple[Tensor, Tensor], *, iterations: int
) -> Tensor:
    """Minimise ‖decode(z) − x‖₂ over valid z from several starts, all of them at once.

    Parameters
    ----------
    decode
        Called with latents (m, d) and the rows (m,) of `images` that they are for.
    images
        Shape (n, channels, height, width).
    starts
        Shape (s, n, d).
    bounds
        Lowest and highest valid latents, shape (d,) each.
    iterations
        Iterations of Adam, its step falling from 5 % of the range along a cosine; Levenberg-Marquardt steps then
        polish each image's best, because Adam alone needs many hundreds more to come within 1e-3.

    Returns
    -------
        The best latents met on the way, shape (n, d). An image that a start already decodes to is left alone.
    """
    low, high = bounds
    span = high - low
    s, n, d = starts.shape
    everyone = torch.arange(n, device=images.device)
    starts = starts.clamp(low, high)
    with torch.no_grad():
        errors = torch.stack([distance(decode(z, everyone), images) for z in starts])
    best_error, which = errors.min(dim=0)
    best = starts[which, everyone].clone()
    open_ = torch.nonzero(best_error > CONVERGED)[:, 0]
    if len(open_) == 0 or iterations == 0:
        return best
    rows = open_.repeat(s)
    targets = images[rows]
    u = ((starts[:, open_] - low) / span).reshape(-1, d).requires_grad_()  # all parameters on one scale
    optimiser = torch.optim.Adam([u], lr=_RATE)
    best_u, best_squared = u.detach().clone(), torch.full((len(u),), torch.inf, device=u.device)
    for step in range(iterations + 1):
        squared = (decode(low + span * u, rows) - targets).square().flatten(1).sum(dim=1)
        better = squared.detach() < best_squared
        best_squared = torch.where(better, squared.detach(), best_squared)
        best_u = torch.where(better.unsqueeze(1), u.detach(), best_u)
        if step == iterations:
            break
        (u.grad,) = torch.autograd.grad(squared.sum(), u)
        optimiser.param_groups[0]["lr"] = _RATE * max(_FLOOR, (1 + math.cos(math.pi * step / iterations)) / 2)
        optimiser.step()
        with torch.no_grad():
            u.clamp_(0, 1)
    squared = best_squared.reshape(s, -1)
    winner = squared.argmin(dim=0)
    found = low + span * best_u.reshape(s, len(open_), d)[winner, torch.arange(len(open_), device=u.device)]
    found, error = _polish(lambda z, part: decode(z, open_[part]), images[open_], found, bounds)
    best[open_] = torch.where((error < best_error[open_]).unsqueeze(1), found, best[open_])
    return best


def _polish(decode: Decode, images: Tensor, latents: Tensor, bounds: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Levenberg-Marquardt steps that never make an image's distance larger: latents (n, d) and distances (n,)."""
    everyone = torch.arange(len(images), device=images.device)
    span = (bounds[1] - bounds[0]).double()
    damping = torch.full((len(images),), 1e-3, dtype=torch.float64, device=images.device)
    with torch.no_grad():
        residual = images - decode(latents, everyone)
        error = distance(images, images - residual)
        for _ in range(_POLISHING):
            jacobian = _jacobian(decode, latents, bounds) * span[:, None]  # (n, d, D), in shares of the range
            gram = jacobian @ jacobian.mT
            slope = torch.einsum("ndp,np->nd", jacobian, residual.flatten(1).double())
            ridge = damping * gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
            move = torch.linalg.solve(gram + torch.diag_embed(ridge.unsqueeze(1).expand(-1, gram.shape[1])), slope)
            tried = (latents + (span * move).to(latents.dtype)).clamp(*bounds)
            tried_residual = images - decode(tried, everyone)
            tried_error = distance(images, images - tried_residual)
            better = tried_error < error
            latents = torch.where(better.unsqueeze(1), tried, latents)
            residual = torch.where(better.view(-1, 1, 1, 1), tried_residual, residual)
            error = torch.where(better, tried_error, error)
            damping = torch.where(better, damping / 10, damping * 10)
    return latents, error


def tangent_by_differences(decode: Decode, latents: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Orthonormal basis of the decoder's tangent space at latents.

    Parameters
    ----------
    decode
        As in `nearest_latents`.
    latents
        Shape (n, d).
    bounds
        Give the step: a thousandth of each latent's range, to both sides.

    Returns
    -------
        float64, shape (n, d, D), zero beyond the rank.

    Notes
    -----
    Central differences: neither grid sampling nor every user's decoder has a forward-mode derivative, and a
    reverse-mode one costs a pass a pixel.
    """
    return orthonormal_basis(_jacobian(decode, latents, bounds))


def _jacobian(decode: Decode, latents: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Differentiate the decoded pixels by each latent, float64, shape (n, d, D)."""
    rows = torch.arange(len(latents), device=latents.device)
    columns = []
    with torch.no_grad():
        for step in torch.diag(_DIFFERENCE * (bounds[1] - bounds[0])):
            difference = decode(latents + step, rows) - decode(latents - step, rows)
            columns.append(difference.flatten(1).double() / float(2 * step.sum()))
    return torch.stack(columns, dim=1)
