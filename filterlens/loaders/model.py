"""What every loader returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from filterlens.errors import LensSkipped

__all__ = ["Classifier", "LoadedModel"]


class Classifier(nn.Module):
    """A network that takes images in [0, 1]: the channel normalisation is part of it.

    Parameters
    ----------
    network
        The network as its authors wrote it.
    mean, std
        One value a channel, or None where the network normalises its input itself.
    """

    def __init__(
        self, network: nn.Module, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", None if mean is None else torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", None if std is None else torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    @property
    def is_normalised(self) -> bool:
        """Whether a normalisation was given."""
        return isinstance(self.mean, Tensor)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (n, classes), of images in [0, 1], shape (n, channels, height, width)."""
        if isinstance(self.mean, Tensor) and isinstance(self.std, Tensor):
            images = (images - self.mean) / self.std
        logits: Tensor = self.network(images)
        return logits


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with its provenance.

    Parameters
    ----------
    model_id, source
        As in the catalog.
    sha256
        Digest of the file that the weights came from; empty where there is no file.
    weights
        The state dict: plain tensors on the CPU, names without wrappers' prefixes.
    classifier
        The network in eval mode with its normalisation, or None where only weights are known.
    input_size
        (channels, height, width) of one image, or None where unknown.
    depths
        conv_depth and its normalised value of convolutions by name, where the source tells them.
    notes
        What a reader of the ledger should know: names in pickles that were not rebuilt, folded BatchNorm, …
    """

    model_id: str
    source: str
    sha256: str
    weights: Mapping[str, Tensor]
    classifier: Classifier | None = None
    input_size: tuple[int, int, int] | None = None
    depths: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())

    @property
    def network(self) -> nn.Module | None:
        """The bare network, whose layer names are those of the weights."""
        return None if self.classifier is None else self.classifier.network

    def require_classifier(self, lens: str) -> Classifier:
        """Return the model that runs.

        Raises
        ------
        LensSkipped
            There are only weights.
        """
        if self.classifier is None:
            raise LensSkipped(
                f"the {lens} lens needs a model that runs, and {self.source} holds weights only; "
                "give the architecture: a module:, timm: or torchvision: source with ?weights=, or --arch with --folder"
            )
        return self.classifier
