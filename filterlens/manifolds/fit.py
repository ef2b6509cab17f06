"""Training of a learned manifold: a class-conditional VAE with an adversarial reconstruction term."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from filterlens.errors import InputError
from filterlens.inputs import Images
from filterlens.manifolds.learned import save_learned
from filterlens.manifolds.protocol import distance
from filterlens.manifolds.vae import Decoder, Discriminator, Encoder, Shape

__all__ = ["Fit", "fit_manifold"]


@dataclass(frozen=True, slots=True)
class Fit:
    """How a manifold is learned.

    Parameters
    ----------
    epochs, batch_size, learning_rate
        Settings of Adam with betas (0.5, 0.999); the rate falls on a cosine to 0.
    latent
        Dimensions, 10 in the paper.
    reconstruction, adversarial
        β and γ beside the divergence from the prior: β ‖x − dec(z)‖² + γ adversarial + KL.
    width
        Feature maps of the finest stage, a multiple of 8.
    seed
        Random seed of initialisation, order and noise.
    device
        `cpu`, `cuda`, …
    """

    epochs: int = 20
    batch_size: int = 100
    learning_rate: float = 1e-3
    latent: int = 10
    reconstruction: float = 2.75
    adversarial: float = 1.0
    width: int = 32
    seed: int = 0
    device: str = "cpu"


def fit_manifold(
    train: Images,
    held_out: Images,
    path: Path,
    fit: Fit | None = None,
    *,
    progress: Callable[[int, int, dict[str, float]], None] = lambda *_: None,
) -> dict[str, object]:
    """Learn the manifold of a data set and save it.

    Parameters
    ----------
    train
        FONTS, MNIST-like or small colour images; sides of 8 pixels at least.
    held_out
        For the card's reconstruction error.
    path
        Path of the safetensors file; a card is written beside it as `PATH.json`.
    fit
        How; the paper's weights where None.
    progress
        Called after each epoch with epochs done, epochs in all, and the mean losses.

    Returns
    -------
        The card: data, settings, losses, and the mean L2 distance between held-out images and their reconstructions.

    Raises
    ------
    InputError
        There are no images, they are too small, or the losses are no longer finite.

    References
    ----------
    [Stutz2019]_, section 3.2 and the supplement.

    Notes
    -----
    Adam's learning rate, the network's width and its GroupNorm are ours. The discriminator sees reconstructions
    and images decoded from the prior.
    """
    fit = fit or Fit()
    if len(train) < 2 or len(held_out) < 1 or min(train.pixels.shape[2:]) < 8:
        raise InputError(
            f"a manifold is learned from images of at least 8x8 pixels; {train.name} has {len(train)} of shape "
            f"{train.pixels.shape[1:]} and {len(held_out)} held out"
        )
    channels, height, width = train.pixels.shape[1:]
    classes = int(max(train.labels.max(), held_out.labels.max())) + 1
    try:
        shape = Shape(channels, height, width, classes, fit.latent, fit.width)
    except ValueError as odd:
        raise InputError(f"no manifold can be learned of {train.name}: {odd}") from odd
    torch.manual_seed(fit.seed)
    encoder, decoder = Encoder(shape).to(fit.device), Decoder(shape).to(fit.device)
    critic = Discriminator(shape).to(fit.device)
    losses = _train((encoder, decoder, critic), train, fit, progress)
    error, rmse = _reconstruction_error(encoder, decoder, held_out, fit.device)
    card: dict[str, object] = {
        "data": train.name,
        "data_sha256": train.digest,
        "images": len(train),
        "held_out_images": len(held_out),
        "reconstruction_l2": error,
        "reconstruction_rmse": rmse,
        "losses": losses,
        "fit": asdict(fit),
        "torch_version": str(torch.__version__),
    }
    save_learned(path, encoder, decoder, card)
    return card


def _train(
    networks: tuple[Encoder, Decoder, Discriminator],
    train: Images,
    fit: Fit,
    progress: Callable[[int, int, dict[str, float]], None],
) -> dict[str, float]:
    """Alternate between the VAE and the discriminator; return the last epoch's mean losses."""
    encoder, decoder, critic = networks
    vae = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=fit.learning_rate, betas=(0.5, 0.999))
    discriminator_optimiser = torch.optim.Adam(critic.parameters(), lr=fit.learning_rate, betas=(0.5, 0.999))
    means: dict[str, float] = {}
    generator = torch.Generator().manual_seed(fit.seed)
    for epoch in range(fit.epochs):
        for optimiser in (vae, discriminator_optimiser):
            optimiser.param_groups[0]["lr"] = fit.learning_rate * (1 + math.cos(math.pi * epoch / fit.epochs)) / 2
        sums = torch.zeros(4)
        batches = 0
        for images, labels in _batches(train, fit, generator):
            noise = torch.randn(2, len(labels), fit.latent, generator=generator).to(images.device)
            mean, log_variance = encoder.moments(images, labels)
            decoded = decoder(mean + (log_variance / 2).exp() * noise[0], labels)
            squared = (decoded - images).square().flatten(1).sum(dim=1).mean()
            divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()
            fooling = functional.softplus(-critic(decoded, labels)).mean()
            vae.zero_grad()
            torch.autograd.backward(fit.reconstruction * squared + divergence + fit.adversarial * fooling)
            vae.step()
            with torch.no_grad():
                drawn = decoder(noise[1], labels)
            fake = torch.cat([decoded.detach(), drawn])
            critic_loss = functional.softplus(-critic(images, labels)).mean()
            critic_loss = critic_loss + functional.softplus(critic(fake, labels.repeat(2))).mean()
            discriminator_optimiser.zero_grad()
            torch.autograd.backward(critic_loss)
            discriminator_optimiser.step()
            sums += torch.stack([squared, divergence, fooling, critic_loss]).detach().cpu()
            batches += 1
        names = ("reconstruction", "divergence", "adversarial", "discriminator")
        means = dict(zip(names, (sums / batches).tolist(), strict=True))
        if not all(math.isfinite(value) for value in means.values()):
            raise InputError(f"the losses of epoch {epoch} are not finite ({means}): lower the learning rate")
        progress(epoch + 1, fit.epochs, means)
    return means


def _batches(train: Images, fit: Fit, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(train), generator=generator).numpy()
    for start in range(0, len(order), fit.batch_size):
        rows = order[start : start + fit.batch_size]
        yield torch.from_numpy(train.pixels[rows]).to(fit.device), torch.from_numpy(train.labels[rows]).to(fit.device)


def _reconstruction_error(encoder: Encoder, decoder: Decoder, images: Images, device: str) -> tuple[float, float]:
    """Mean L2 distance to the reconstruction, and root mean square error of a pixel."""
    distances = []
    with torch.no_grad():
        for start in range(0, len(images), 500):
            x = torch.from_numpy(images.pixels[start : start + 500]).to(device)
            y = torch.from_numpy(images.labels[start : start + 500]).to(device)
            distances.append(distance(x, decoder(encoder(x, y), y)))
    found = torch.cat(distances)
    rmse = (found.square().mean() / images.pixels[0].size).sqrt()
    return float(found.mean()), float(rmse)
