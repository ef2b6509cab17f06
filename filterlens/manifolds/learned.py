"""A manifold that was learned: any encoder and decoder, the bundled VAE-GAN among them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from filterlens.errors import CheckpointError, InputError
from filterlens.inputs.reading import read_regular
from filterlens.manifolds.optimise import Decode, nearest_latents, tangent_by_differences
from filterlens.manifolds.protocol import Capability, Points, distance
from filterlens.manifolds.vae import Decoder, Encoder, Shape
from filterlens.process.files import write_atomically

__all__ = ["Learned", "load_learned", "load_module_pair", "read_card", "save_learned"]

_BOUND = 2.0  # of every latent, as in Stutz2019
_MAX_HEADER = 1 << 20


class Learned:
    """The images of a decoder whose latents lie in [-2, 2].

    Parameters
    ----------
    encoder
        Called with images and labels; returns latents, shape (n, d).
    decoder
        Called with latents and labels; returns images in [0, 1]. Class-conditional: the class is an input of it.
    latent
        d.
    name
        For tables.
    device
        Where the images are; the pair is moved there.
    iterations
        Iterations of a projection.

    References
    ----------
    [Stutz2019]_, section 3.2.
    """

    capabilities: frozenset[Capability] = frozenset({"encode", "decode", "project"})

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent: int,
        name: str = "learned",
        device: torch.device | str = "cpu",
        iterations: int = 80,
    ) -> None:
        self.name = name
        self._encoder = encoder.to(device).eval().requires_grad_(requires_grad=False)
        self._decoder = decoder.to(device).eval().requires_grad_(requires_grad=False)
        self._iterations = iterations
        self._low = torch.full((latent,), -_BOUND, device=device)
        self._high = torch.full((latent,), _BOUND, device=device)

    @property
    def latent_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest latent: -2 and 2."""
        return self._low, self._high

    def encode(self, points: Points) -> Tensor:
        """Latents of clean images, clipped to the bounds, shape (n, d).

        Raises
        ------
        InputError
            The encoder does not take such images, or gives latents of another shape.
        """
        return self._encode(points.pixels, points.labels)

    def decode(self, latents: Tensor, points: Points) -> Tensor:
        """Images of latents, in the class of the points; see `Manifold.decode`.

        Raises
        ------
        InputError
            The decoder's images are of another shape than the points' or leave [0, 1].
        """
        images: Tensor = self._decoder(latents, points.labels)
        if images.shape != points.pixels.shape:
            raise InputError(
                f"manifold {self.name}: the decoder gives images of shape {tuple(images.shape)}, "
                f"the data has {tuple(points.pixels.shape)}; train it on this data"
            )
        lowest, highest = float(images.detach().min()), float(images.detach().max())
        if not (lowest >= -1e-3 and highest <= 1 + 1e-3):
            raise InputError(
                f"manifold {self.name}: the decoder's images lie in [{lowest:.3g}, {highest:.3g}], "
                "images here lie in [0, 1]; end it with a sigmoid"
            )
        inside: Tensor = images.clamp(0, 1)
        return inside

    def project(self, images: Tensor, points: Points, latents: Tensor | None = None) -> Tensor:
        """Nearest decoded image, from the latents of the clean and of the given images; see `Manifold.project`."""
        starts = [self.encode(points), self._encode(images, points.labels)] + ([] if latents is None else [latents])
        found = nearest_latents(
            self._decode_rows(points), images, torch.stack(starts), self.latent_bounds, iterations=self._iterations
        )
        with torch.no_grad():
            return self.decode(found, points)

    def tangent(self, points: Points) -> Tensor:
        """Directions of the decoder at the clean images' latents; see `Manifold.tangent`."""
        return tangent_by_differences(self._decode_rows(points), self.encode(points), self.latent_bounds)

    def held_out_distance(self, images: Tensor, points: Points) -> Tensor:
        """Distance found from the images' own latents alone, shape (n,); no image was trained on."""
        return distance(images, self.project(images, Points(images, points.labels)))

    def class_of(self, images: Tensor, points: Points, latents: Tensor) -> Tensor:
        """Class, of those that the points have, whose encoder and decoder bring an image back best, shape (n,)."""
        del latents
        classes = torch.unique(points.labels)
        errors = []
        with torch.no_grad():
            for label in classes:
                as_class = Points(images, label.expand(len(images)))
                errors.append(distance(images, self.decode(self.encode(as_class), as_class)))
        nearest: Tensor = classes[torch.stack(errors, dim=1).argmin(dim=1)]
        return nearest

    def _encode(self, images: Tensor, labels: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                latents: Tensor = self._encoder(images, labels)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"manifold {self.name}: the encoder does not take images of shape {tuple(images.shape)} with labels "
                f"up to {int(labels.max())} ({error}); train it on this data"
            ) from error
        if latents.shape != (len(images), len(self._low)):
            raise InputError(
                f"manifold {self.name}: the encoder gives latents of shape {tuple(latents.shape)}, "
                f"expected {(len(images), len(self._low))}"
            )
        clipped: Tensor = latents.clamp(self._low, self._high)
        return clipped

    def _decode_rows(self, points: Points) -> Decode:
        return lambda latents, rows: self.decode(latents, points.take(rows))


def save_learned(path: Path, encoder: Encoder, decoder: Decoder, card: dict[str, object]) -> None:
    """Write encoder and decoder as one safetensors file, whole or not at all.

    Parameters
    ----------
    path
        Path of the file; its folder is made.
    encoder, decoder
        Networks of the same `Shape`.
    card
        Plain JSON: data, reconstruction error, seed, … kept in the file's header and as `PATH.json` beside it.
    """
    from safetensors.torch import save

    tensors = {f"encoder.{name}": value.contiguous().cpu() for name, value in encoder.state_dict().items()}
    tensors |= {f"decoder.{name}": value.contiguous().cpu() for name, value in decoder.state_dict().items()}
    full = {"shape": asdict(decoder.shape), **card}
    write_atomically(path, save(tensors, metadata={"filterlens_manifold": json.dumps(full)}))
    write_atomically(path.with_name(f"{path.name}.json"), json.dumps(full, indent=2) + "\n")


def read_card(path: Path) -> dict[str, Any]:
    """Read what a learned decoder's file says of itself.

    Raises
    ------
    CheckpointError
        It is missing, no safetensors file, or not one of ours.
    """
    return _card(_read(path), path)


def load_learned(path: Path, *, device: torch.device | str = "cpu", iterations: int = 80) -> Learned:
    """Read a decoder that `filterlens train manifold` wrote.

    Raises
    ------
    CheckpointError
        The file is missing, not ours, or its weights do not fit its card.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _read(path)
    shape = Shape(**_card(content, path)["shape"])
    with torch.device("meta"):  # so that nothing is allocated for a card that its weights do not fit
        encoder, decoder = Encoder(shape), Decoder(shape)
    try:
        tensors = load(content)
        for prefix, network in (("encoder.", encoder), ("decoder.", decoder)):
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            network.load_state_dict(own, assign=True)
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{path}: weights and card do not fit ({error}); train it again") from error
    if any(value.dtype != torch.float32 or not value.isfinite().all() for value in tensors.values()):
        raise CheckpointError(f"{path}: weights are no finite float32 numbers; train it again")
    return Learned(encoder, decoder, latent=shape.latent, device=device, iterations=iterations)


def _read(path: Path) -> bytes:
    """Read the file whole: a mapped one could change, or end, while its weights are in use."""
    try:
        return read_regular(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist: train it with `filterlens train manifold`") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): give the file of a learned manifold") from error


def _card(content: bytes, path: Path) -> dict[str, Any]:
    """Read the card in a safetensors file's header."""
    try:
        length = int.from_bytes(content[:8], "little")
        if not length <= min(_MAX_HEADER, len(content) - 8):
            raise ValueError(f"it has a header of {length} bytes")
        card = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["filterlens_manifold"])
        Shape(**card["shape"])
        return dict(card)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is no learned manifold ({error!s:.200}): give a file that `filterlens train manifold` wrote"
        ) from error


def load_module_pair(source: str, *, device: torch.device | str = "cpu", iterations: int = 80) -> Learned:
    """Call a user's `module:package.mod:factory`, which returns an encoder, a decoder and the number of latents.

    Raises
    ------
    InputError
        The module or factory is not there, or returns something else.
    """
    from filterlens.loaders.module import call_factory

    module, _, name = source.removeprefix("module:").partition(":")
    try:
        made = call_factory(f"{module}:{name or 'manifold'}", Path.cwd())
    except CheckpointError as error:
        raise InputError(f"--manifold {source}: {error}; give module:package.mod:factory") from error
    match made:
        case (nn.Module() as encoder, nn.Module() as decoder, int(latent)):
            return Learned(encoder, decoder, latent=latent, name=source, device=device, iterations=iterations)
    raise InputError(
        f"--manifold {source}: the factory returned {type(made).__name__}; it must return "
        "(encoder, decoder, number of latents), two torch modules and an integer"
    )
