"""What is drawn anew for every batch: crops of padded images, mirroring, AutoAugment, and noise on labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

__all__ = ["Crops", "auto_augmented", "noisy_labels"]


class Crops:
    """Random crops of zero-padded images, every second one mirrored: the augmentation usual on CIFAR-10 [He2016]_.

    Parameters
    ----------
    images
        In [0, 1], shape (n, channels, height, width); kept as bytes.
    padding
        Pixels of zeros on each side: crops are shifted by as many at most.

    Examples
    --------
    >>> crops = Crops(torch.ones(3, 1, 8, 8))
    >>> crops(torch.tensor([0, 2]), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, images: Tensor, padding: int = 4) -> None:
        height, width = images.shape[2:]
        padded = functional.pad((images * 255).round().to(torch.uint8), (padding,) * 4)
        self._shifts = 2 * padding + 1
        self._windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (n, c, shifts, shifts, h, w), a view

    def whole(self, chosen: Tensor) -> Tensor:
        """Return the chosen images as they are."""
        middle = self._shifts // 2
        return self._windows[chosen, :, middle, middle].float() / 255

    def __call__(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a crop of each of the chosen images: float32 in [0, 1], shape (len(chosen), channels, height, width)."""
        n = len(chosen)
        down, right = torch.randint(self._shifts, (2, n), generator=generator).to(chosen.device)
        mirrored = torch.rand(n, generator=generator).to(chosen.device) < 0.5
        crops = self._windows[chosen, :, down, right].float() / 255
        return torch.where(mirrored[:, None, None, None], crops.flip(3), crops)


def noisy_labels(labels: Tensor, share: float, *, classes: int, generator: torch.Generator) -> Tensor:
    """Replace a share of labels, drawn at random, by classes drawn at random, which may be their own [Xie2016]_.

    Examples
    --------
    >>> labels = torch.zeros(1000, dtype=torch.int64)
    >>> noisy_labels(labels, 0.0, classes=10, generator=torch.Generator().manual_seed(0)).unique().tolist()
    [0]
    """
    replaced = torch.rand(len(labels), generator=generator) < share
    drawn = torch.randint(classes, (len(labels),), generator=generator)
    return torch.where(replaced.to(labels.device), drawn.to(labels.device), labels)


def auto_augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Transform each image by a sub-policy of AutoAugment's policy for CIFAR-10, drawn at random [Cubuk2019]_.

    Parameters
    ----------
    images
        In [0, 1], shape (n, channels, height, width); they pass through bytes.
    generator
        Decides the draws; torch's own generator is left as it was.
    """
    policy = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    seed = int(torch.randint(1 << 62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        moved = [policy(image) for image in (images * 255).round().to(torch.uint8)]
    return torch.stack(moved).to(images.dtype) / 255
